"""Names of folders and files."""

from pathlib import Path

import pytest

from nnunetv2_crln import layout


@pytest.mark.parametrize(
    ("name", "number"), [("Dataset004_Heart", "004"), ("Dataset104_My_Heart", "104"), ("Dataset1042_Heart", "1042")]
)
def test_the_number_of_a_dataset_keeps_all_its_digits(name, number):
    assert layout.dataset_number(name) == number


@pytest.mark.parametrize(
    ("name", "title"),
    [("Dataset004_Heart", "Heart"), ("Dataset104_My_Heart", "My_Heart"), ("Dataset1042_Heart", "Heart")],
)
def test_the_name_of_a_dataset_begins_after_all_digits(name, title):
    assert layout.dataset_title(name) == title


def test_the_unlabelled_cases_lie_beside_the_labelled_ones():
    labelled = Path("preprocessed/Dataset001_A/plans_2d")
    assert layout.unlabelled_folder("preprocessed/Dataset001_A", "plans_2d") == Path(f"{labelled}_unlabelled")
    lock = layout.data_lock_file(labelled)
    assert lock.parent == labelled.parent and lock.name.startswith(".") and labelled.name in lock.name


def test_no_two_names_of_one_folder_are_equal():
    folders = [getattr(layout, name) for name in vars(layout) if name.startswith(("IMAGES_", "LABELS_"))]
    files = [value for name, value in vars(layout).items() if name.endswith(("_FILE", "_LOCK"))]
    assert len(set(folders)) == len(folders) == 6
    assert len(set(files)) == len(files)
