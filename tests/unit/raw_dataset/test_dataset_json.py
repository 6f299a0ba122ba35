"""Entries of dataset.json: every complaint, and what its message says."""

import json

import pytest

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.raw_dataset.check_dataset_json import read_checked_dataset_json
from nnunetv2_crln.raw_dataset.dataset_json import read_dataset_json, required_entry


def edit(folder, **changes):
    """Change entries of dataset.json; None removes one."""
    path = folder / "dataset.json"
    content = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"numTraining": None, "labels": None}, "has no labels, numTraining"),
        ({"numTraining": "3"}, "'numTraining' is '3'; expected the number of labelled cases"),
        ({"numTraining": True}, "'numTraining' is True"),
        ({"file_ending": ".gz"}, r"'file_ending' is '\.gz', which is only the last part of '\.nii\.gz'.*whole ending"),
        ({"file_ending": "nii.gz"}, "'file_ending' is 'nii.gz'.*leading dot"),
        ({"channel_names": {"MRI": 0}}, "'channel_names' is .*numbers to names"),
        ({"channel_names": ["MRI"]}, "'channel_names' is"),
        ({"labels": {"0": "background", "1": "heart"}}, "'labels' is .*names to numbers"),
        ({"labels": {"heart": 1}}, "'labels' is"),
    ],
)
def test_a_wrong_entry_is_named_with_what_is_expected(make_dataset, changes, message):
    folder = make_dataset()
    edit(folder, **changes)
    with pytest.raises(UserError, match=message):
        read_checked_dataset_json(folder)


def test_what_is_no_object_is_refused(make_dataset):
    folder = make_dataset()
    (folder / "dataset.json").write_text("[]")
    with pytest.raises(UserError, match="holds a list"):
        read_checked_dataset_json(folder)


def test_regions_and_old_key_are_valid(make_dataset):
    folder = make_dataset()
    regions = {"labels": {"background": 0, "whole": [1, 2], "core": 2}, "regions_class_order": [1, 2]}
    edit(folder, **regions, channel_names=None, modality={"0": "MRI"})
    assert read_checked_dataset_json(folder)["labels"]["whole"] == [1, 2]


def test_missing_entry():
    with pytest.raises(UserError, match=r"no entry 'file_ending', only \['labels'\]"):
        required_entry({"labels": {}}, "file_ending")


@pytest.mark.parametrize(("text", "message"), [("{", "not valid JSON"), (json.dumps([1]), "holds a list")])
def test_unreadable_dataset_json(tmp_path, text, message):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(UserError, match=message):
        read_dataset_json(tmp_path / "dataset.json")


def test_absent_dataset_json(tmp_path):
    with pytest.raises(UserError, match="Cannot read"):
        read_dataset_json(tmp_path / "dataset.json")
