"""What ``-d`` accepts, and what it suggests."""

import argparse

import pytest

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.raw_dataset.dataset_argument import dataset_id, present_datasets, suggest_dataset
from nnunetv2_crln.raw_dataset.environment import similar_variable
from nnunetv2_crln.raw_dataset.folders import find_dataset


@pytest.fixture
def datasets(nnunet_folders):
    for name in ("Dataset004_Heart", "Dataset104_Left_Atrium", "Dataset1042_Liver", "Datasets", "Dataset12_Short"):
        (nnunet_folders.raw / name).mkdir()


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("4", 4),
        ("004", 4),
        ("Dataset004_Heart", 4),
        ("heart", 4),
        ("Left_Atrium", 104),
        ("Dataset1042_Liver", 1042),
        ("77", 77),
    ],
)
def test_numbers_and_names(datasets, text, number):
    assert dataset_id(text) == number


@pytest.mark.parametrize(
    ("text", "meant"), [("Livr", r"Did you mean 1042 \(Dataset1042_Liver\)"), ("zzz", "nnUNet_raw.$")]
)
def test_a_wrong_name_gets_a_suggestion(datasets, text, meant):
    with pytest.raises(argparse.ArgumentTypeError, match=meant):
        dataset_id(text)


def test_only_folders_that_nnunet_would_find_are_listed(datasets):
    assert present_datasets() == ["Dataset004_Heart", "Dataset1042_Liver", "Dataset104_Left_Atrium"]
    assert present_datasets("nnUNet_nothing") == []
    assert suggest_dataset(105, present_datasets()) == " Did you mean 104 (Dataset104_Left_Atrium)?"


def test_a_copy_of_a_dataset_has_no_number(datasets, nnunet_folders):
    (nnunet_folders.raw / "Dataset150old_Heart").mkdir()
    assert "Dataset150old_Heart" not in present_datasets()
    with pytest.raises(UserError, match=r"No folder Dataset150_… in .*Found there: Dataset004_Heart"):
        find_dataset(150)


def test_a_variable_in_another_spelling_is_named(monkeypatch):
    monkeypatch.delenv("nnUNet_raw", raising=False)
    monkeypatch.setenv("nnUNet_raww", "/data")
    assert similar_variable("nnUNet_raw") == ", but nnUNet_raww is"
