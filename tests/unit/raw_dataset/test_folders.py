"""The folders of a dataset, found by its number or name."""

import pytest

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.raw_dataset.dataset_argument import dataset_id
from nnunetv2_crln.raw_dataset.folders import find_dataset


def test_folders_of_a_dataset(make_dataset, nnunet_folders, monkeypatch):
    raw = make_dataset()
    found = find_dataset(999)
    assert (found.raw, found.preprocessed) == (raw, nnunet_folders.preprocessed / raw.name)
    with pytest.raises(UserError, match=r"No folder Dataset007_… .*Found there: Dataset999_Synthetic"):
        find_dataset(7)
    make_dataset(name="Other", unlabelled=0, test=0)
    with pytest.raises(UserError, match=r"several names .*Dataset999_Other, Dataset999_Synthetic"):
        find_dataset(999)
    monkeypatch.setenv("nnUNet_raw", "/nowhere")
    with pytest.raises(UserError, match="'/nowhere', expected an existing folder"):
        find_dataset(999)
    monkeypatch.delenv("nnUNet_raw")
    monkeypatch.setenv("NNUNET_RAW", "/nowhere")
    with pytest.raises(UserError, match="nnUNet_raw is not set, but NNUNET_RAW is"):
        find_dataset(999)


def test_four_digits(make_dataset):
    folder = make_dataset(dataset_id=1042, name="Heart", labelled=1, unlabelled=1, shape=(4, 4, 4))
    for text in ("1042", "Dataset1042_Heart", "heart"):
        assert find_dataset(dataset_id(text)).raw == folder


def test_a_longer_number_is_not_taken_for_its_beginning(make_dataset):
    make_dataset(dataset_id=1042, name="Heart", labelled=1, unlabelled=1, shape=(4, 4, 4))
    with pytest.raises(UserError, match=r"No folder Dataset104_.*Found there: Dataset1042_Heart"):
        find_dataset(104)
    make_dataset(dataset_id=104, name="Liver", labelled=1, unlabelled=1, shape=(4, 4, 4))
    with pytest.raises(UserError, match=r"several names .*Dataset1042_Heart, Dataset104_Liver"):
        find_dataset(104)
