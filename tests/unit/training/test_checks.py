"""Faults that a training refuses before it starts."""

import json

import pytest

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.training.checks import (
    explaining_split_errors,
    make_missing_split,
    plans_file,
    refuse_cascade,
    refuse_unknown_cases,
)


def test_plain_configurations_are_allowed():
    refuse_cascade("3d_fullres", is_cascaded=False)


def test_a_cascade_is_refused_with_the_way_out():
    with pytest.raises(NotImplementedError, match=r"'3d_cascade_fullres'.*train 3d_fullres"):
        refuse_cascade("3d_cascade_fullres", is_cascaded=True)


def test_the_split_is_nnunets_and_an_existing_one_stays(tmp_path):
    cases = [f"case_{i}" for i in range(7)]
    make_missing_split(tmp_path, cases)
    split = json.loads((tmp_path / "splits_final.json").read_text())
    assert len(split) == 5
    assert all(sorted(fold["train"] + fold["val"]) == cases for fold in split)
    (tmp_path / "splits_final.json").write_text("[]")
    make_missing_split(tmp_path, cases)
    assert (tmp_path / "splits_final.json").read_text() == "[]"


def test_too_few_cases_for_five_folds(tmp_path):
    with pytest.raises(UserError, match=r"has 4 labelled cases, too few .*5-fold.*'all'.*splits_final\.json"):
        make_missing_split(tmp_path, list("abcd"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("train"), TypeError("x")])
def test_a_damaged_split_is_named(tmp_path, error):
    with pytest.raises(UserError, match=r"splits_final\.json is damaged"), explaining_split_errors(tmp_path):
        raise error


def test_cases_outside_of_the_data_are_refused(tmp_path):
    refuse_unknown_cases(tmp_path, 0, ["a"], ["a", "b"])
    with pytest.raises(UserError, match=r"fold 3, names 1 case\(s\) that are not preprocessed: \.\./secret"):
        refuse_unknown_cases(tmp_path, 3, ["a", "../secret"], ["a", "b"])


def test_plans_are_named_by_their_file(monkeypatch):
    monkeypatch.setenv("nnUNet_preprocessed", "/data")
    assert str(plans_file({"dataset_name": "Dataset001_X", "plans_name": "mine"})) == "/data/Dataset001_X/mine.json"
