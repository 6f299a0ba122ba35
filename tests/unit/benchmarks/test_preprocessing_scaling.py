"""The benchmark of preprocessing runs against the present code, and notes when each case was done."""

import preprocessing_scaling
from workbench_data import nnunet_paths_in

from nnunetv2_crln.utilities import parallel


def test_the_times_of_two_small_cases(tmp_path):
    run_parallel = parallel.run_parallel
    with nnunet_paths_in(tmp_path):
        raw = preprocessing_scaling.write_raw(tmp_path / "raw", cases=2, size=16)
        result = preprocessing_scaling.measure(raw, tmp_path / "preprocessed", processes=1)
    assert result["processes"] == 1
    assert 0 < result["first_case_s"] < result["seconds"]
    assert parallel.run_parallel is run_parallel
