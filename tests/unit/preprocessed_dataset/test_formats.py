"""Folders of preprocessed cases with other files in them."""

import pytest

from nnunetv2_crln.plan_and_preprocess.written_cases import check_labelled_cases
from nnunetv2_crln.preprocessed_dataset.formats import dataset_in


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "nnUNetPlans_3d_fullres"
    folder.mkdir()
    return folder


def test_files_beside_the_cases_are_overlooked(folder):
    for name in ("a.npz", "a.pkl", "b.npz", "b.pkl", "b.npy", ".DS_Store", "notes.txt"):
        (folder / name).touch()
    assert dataset_in(folder).identifiers == ["a", "b"]
    assert dataset_in(folder, ["b"]).identifiers == ["b"]


@pytest.mark.parametrize("names", [(), ("notes.txt",), ("a.npz", "a.b2nd")])
def test_nothing_is_opened_without_cases_of_one_format(folder, names):
    for name in names:
        (folder / name).touch()
    assert dataset_in(folder) is None
    assert dataset_in(folder / "missing") is None


def test_a_stray_file_does_not_keep_the_cases_from_being_checked(folder, make_dataset):
    raw = make_dataset(labelled=1)
    case = next(iter((raw / "labelsTr").iterdir())).name.split(".")[0]
    for name in (f"{case}.npz", f"{case}.pkl", ".DS_Store"):
        (folder / name).touch()
    faults, _ = check_labelled_cases(raw, folder, show_progress=False)
    assert len(faults) == 1 and case in faults[0] and "cannot be read" in faults[0]
