"""What trainings read of dataset.json follows the raw dataset without planning again."""

import pytest

from nnunetv2_crln.preprocessed_dataset.dataset_json_copy import update_dataset_json_copy
from nnunetv2_crln.raw_dataset.folders import find_dataset
from nnunetv2_crln.utilities.json_files import read_json, write_json


@pytest.mark.parametrize("block", [{"unlabelled_groups": {"a": "unl_*"}}, None])
def test_the_block_and_the_count_are_taken_over_and_nothing_else(make_dataset, block):
    raw = make_dataset()
    folders = find_dataset(999)
    update_dataset_json_copy(folders)
    assert not folders.preprocessed.exists()
    content = read_json(raw / "dataset.json")
    folders.preprocessed.mkdir()
    copy = folders.preprocessed / "dataset.json"
    write_json({**content, "labels": {"background": 0}, "numTraining": 1, "crln": {"old": 1}}, copy)
    write_json({**content, **({"crln": block} if block else {})}, raw / "dataset.json")
    update_dataset_json_copy(folders)
    expected = {**content, "labels": {"background": 0}, **({"crln": block} if block else {})}
    assert read_json(copy) == expected
    before = copy.stat().st_mtime_ns
    update_dataset_json_copy(folders)
    assert copy.stat().st_mtime_ns == before
