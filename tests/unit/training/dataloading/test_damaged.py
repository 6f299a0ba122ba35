"""Preprocessed files that a full disk or an interrupted copy left behind."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.training.dataloading import damaged as module
from nnunetv2_crln.training.dataloading.damaged import Unreadable, naming_damaged_cases, unreadable_cases
from nnunetv2_crln.training.dataloading.joined_cases import JoinedCases


@pytest.fixture
def dataset_in(tmp_path):
    """Factory of datasets with two cases, in a folder of this name."""

    def write(name: str) -> nnUNetDatasetBlosc2:
        folder = tmp_path / name
        folder.mkdir()
        for case in ("a", "b"):
            image, labels = np.zeros((1, 8, 8, 8), np.float32), np.zeros((1, 8, 8, 8), np.int16)
            nnUNetDatasetBlosc2.save_case(image, labels, {"spacing": [1, 1, 1]}, str(folder / f"{name}_{case}"))
        return nnUNetDatasetBlosc2(str(folder))

    return write


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("ending", [".b2nd", "_seg.b2nd", ".pkl"])
def test_the_damaged_case_is_named_with_its_folder_and_the_way_out(tmp_path, dataset_in, ending):
    dataset = dataset_in("x")
    assert unreadable_cases(dataset) == Unreadable()
    cut(tmp_path / "x" / f"x_b{ending}")
    with pytest.raises(UserError) as caught, naming_damaged_cases(dataset):
        dataset.load_case("x_b")
    message = str(caught.value)
    assert "remove these files and run nnUNetv2_crln_plan_and_preprocess" in message
    assert f"1 preprocessed case(s) cannot be read: {tmp_path / 'x' / 'x_b'}.*" in message and "x_a" not in message


def test_joined_cases_are_named_where_they_lie(tmp_path, dataset_in):
    joined = JoinedCases(dataset_in("unlabelled"), dataset_in("labelled"), ignore_label=3)
    cut(tmp_path / "unlabelled" / "unlabelled_a.b2nd")
    (tmp_path / "labelled" / "labelled_b.pkl").unlink()
    assert list(unreadable_cases(joined).damaged) == [
        f"{tmp_path / 'unlabelled' / 'unlabelled_a'}.*",
        f"{tmp_path / 'labelled' / 'labelled_b'}.*",
    ]


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.EACCES, errno.ESTALE])
def test_files_that_the_system_does_not_give_are_not_called_damaged(dataset_in, monkeypatch, number):
    dataset = dataset_in("x")

    def refused(file, *_):
        raise OSError(number, os.strerror(number), str(file))

    monkeypatch.setattr(module, "open", refused, raising=False)
    monkeypatch.setattr(dataset, "load_case", lambda _: refused("x"))
    with pytest.raises(UserError) as caught, naming_damaged_cases(dataset):
        dataset.load_case("x_a")
    message = str(caught.value)
    assert os.strerror(number) in message and "continue with --c" in message
    assert "remove" not in message and "are damaged" not in message


def test_other_errors_stay_what_they_are(dataset_in):
    dataset = dataset_in("x")
    with pytest.raises(MemoryError), naming_damaged_cases(dataset):
        raise MemoryError
    with pytest.raises(UserError, match=r"^said before$"), naming_damaged_cases(dataset):
        raise UserError("said before")
