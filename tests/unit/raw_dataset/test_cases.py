"""Finding cases by name."""

import pytest

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.raw_dataset.cases import (
    files_without_channel,
    find_labelled_cases,
    find_unlabelled_cases,
    list_cases,
    number_of_channels,
    source_record,
)
from nnunetv2_crln.raw_dataset.dataset_json import read_dataset_json


def test_cases_and_channels_are_sorted(tmp_path):
    for name in ("b_0001.nii.gz", "b_0000.nii.gz", "a_1_0000.nii.gz", "notes.txt", "._b_0000.nii.gz", "c_0000.nii"):
        (tmp_path / name).touch()
    cases = list_cases(tmp_path, ".nii.gz")
    assert list(cases) == ["a_1", "b"]
    assert cases["b"] == [str(tmp_path / "b_0000.nii.gz"), str(tmp_path / "b_0001.nii.gz")]


def test_missing_folder_has_no_cases(tmp_path):
    assert list_cases(tmp_path / "none", ".nii.gz") == {}


def test_names_without_channel_are_found(tmp_path):
    for name in ("a.nii.gz", "b_000.nii.gz", "c_0000.nii.gz", "d.nrrd"):
        (tmp_path / name).touch()
    assert files_without_channel(tmp_path, ".nii.gz") == ["a.nii.gz", "b_000.nii.gz"]


def test_synthetic_dataset(make_dataset):
    folder = make_dataset(channels=2)
    assert list(find_unlabelled_cases(folder)) == ["unl_000", "unl_001", "unl_002", "unl_003"]
    labelled = find_labelled_cases(folder)
    assert list(labelled) == ["lab_000", "lab_001", "lab_002"]
    assert labelled["lab_000"]["label"] == str(folder / "labelsTr" / "lab_000.nii.gz")
    assert number_of_channels(read_dataset_json(folder)) == 2


def test_dataset_json_may_list_the_labelled_files(make_dataset):
    folder = make_dataset()
    listed = {"only": {"images": ["imagesTr/lab_000_0000.nii.gz"], "label": "labelsTr/lab_000.nii.gz"}}
    dataset_json = {**read_dataset_json(folder), "dataset": listed}
    found = find_labelled_cases(folder, dataset_json)
    assert found["only"]["images"] == [str(folder / "imagesTr/lab_000_0000.nii.gz")]
    assert dataset_json["dataset"]["only"]["label"] == "labelsTr/lab_000.nii.gz"  # the caller's copy is left alone


def test_record_changes_with_the_file(tmp_path):
    file = tmp_path / "a_0000.nii.gz"
    file.write_bytes(b"1")
    before = source_record([str(file)])
    file.write_bytes(b"12")
    assert source_record([str(file)]) != before


def test_bad_dataset_json(tmp_path):
    with pytest.raises(UserError, match=r"Cannot read .*dataset\.json \(No such file"):
        read_dataset_json(tmp_path)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        read_dataset_json(tmp_path)
