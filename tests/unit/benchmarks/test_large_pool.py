"""A large pool costs seconds at the start and no memory afterwards."""

import large_pool
import pytest
from workbench_data import nnunet_paths_in


@pytest.mark.slow
def test_ten_thousand_unlabelled_cases(tmp_path):
    with nnunet_paths_in(tmp_path):
        result = large_pool.measure(tmp_path, 10_000, workers=0, draws=120)
    assert result["start"]["cpu_s"] < 30
    assert result["growth_after_first_part"] < 0.02
    assert result["resident_bytes"][0] == pytest.approx(result["resident_bytes"][-1], abs=20 * 2**20)
