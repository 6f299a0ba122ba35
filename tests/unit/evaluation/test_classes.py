"""Reading classes out of a dataset.json."""

import json
from pathlib import Path

import pytest

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.evaluation.classes import find_dataset_json, label_definition, required_entry
from nnunetv2_crln.raw_dataset.dataset_json import read_dataset_json

REGIONS = {"background": 0, "whole tumour": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4}


def test_labels() -> None:
    found = label_definition({"labels": {"background": 0, "spleen": 1, "liver": 2}})
    assert found.classes == {"spleen": (1,), "liver": (2,)}
    assert found.ignore_label is None
    assert found.known_in_reference == found.known_labels == {0, 1, 2}


def test_regions_and_ignore_label() -> None:
    found = label_definition({"labels": REGIONS})
    assert found.classes == {"whole tumour": (1, 2, 3), "core": (2, 3), "enhancing": (3,)}
    assert found.ignore_label == 4
    assert found.known_labels == {0, 1, 2, 3}
    assert found.known_in_reference == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("labels", [REGIONS, {"background": 0, "b": 2, "a": 1}, {"background": 0, "a": 1, "ignore": 2}])
def test_agrees_with_nnunet(labels: dict) -> None:
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    manager = LabelManager(labels, regions_class_order=[1, 2, 3])
    ours = label_definition({"labels": labels})
    theirs = manager.foreground_regions if manager.has_regions else manager.foreground_labels
    as_tuples = {tuple(item) if isinstance(item, (list, tuple)) else (int(item),) for item in theirs}
    assert set(ours.classes.values()) == as_tuples
    assert ours.ignore_label == manager.ignore_label
    assert ours.known_labels == {int(label) for label in manager.all_labels}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"0": "background", "1": "atrium"}, r"'0' is 'background', expected a label value"),
        ({"background": 0, "a": []}, r"'a' is \[\], expected a label value"),
        ({"background": 0}, "no foreground class"),
        ({"background": 0, "a": 1, "ignore": [2, 3]}, "ignore label in dataset.json must be one integer"),
    ],
)
def test_wrong_labels(labels: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        label_definition({"labels": labels})


def test_missing_entry() -> None:
    with pytest.raises(UserError, match=r"no entry 'file_ending', only \['labels'\]"):
        required_entry({"labels": {}}, "file_ending")


def test_dataset_json_is_found_beside_the_labels_first(tmp_path: Path) -> None:
    labels, predictions = tmp_path / "data" / "labelsTr", tmp_path / "predictions"
    labels.mkdir(parents=True)
    predictions.mkdir()
    with pytest.raises(UserError, match="-djfile"):
        find_dataset_json(labels, predictions)
    (predictions / "dataset.json").touch()
    assert find_dataset_json(labels, predictions) == predictions / "dataset.json"
    (labels.parent / "dataset.json").touch()
    assert find_dataset_json(labels, predictions) == labels.parent / "dataset.json"


@pytest.mark.parametrize(("text", "message"), [("{", "not valid JSON"), (json.dumps([1]), "holds a list")])
def test_unreadable_dataset_json(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(UserError, match=message):
        read_dataset_json(tmp_path / "dataset.json")


def test_absent_dataset_json(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Cannot read"):
        read_dataset_json(tmp_path / "dataset.json")
