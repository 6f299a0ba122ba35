"""A large pool costs seconds at the start and no memory afterwards."""

import large_pool
import pytest


def test_ten_thousand_unlabelled_cases(tmp_path, monkeypatch):
    for name in ("raw", "preprocessed", "results", "n_proc_DA", "def_n_proc"):
        monkeypatch.setenv(f"nnUNet_{name}", "")  # what set_paths changes is put back
    result = large_pool.measure(tmp_path, 10_000, workers=0, draws=120)
    assert result["start"]["cpu_s"] < 30
    assert result["growth_after_first_part"] < 0.02
    assert result["resident_bytes"][0] == pytest.approx(result["resident_bytes"][-1], abs=20 * 2**20)
