"""The folders of a dataset, found by its number or name."""

import os

import pytest

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.raw_dataset.dataset_argument import dataset_id
from nnunetv2_crln.raw_dataset.environment import FOLDER_VARIABLES, required_folder
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


def test_nnunet_does_not_know_what_a_tilde_means(nnunet_folders, monkeypatch):
    for variable in FOLDER_VARIABLES:
        monkeypatch.setenv(variable, "~/nnunet/folder")
        text = (
            f"{variable} is '~/nnunet/folder': nnU-Net does not replace ~ .*export {variable}={os.path.expanduser('~')}"
        )
        with pytest.raises(UserError, match=text):
            required_folder(variable)


@pytest.mark.parametrize("variable", FOLDER_VARIABLES)
@pytest.mark.parametrize("other", FOLDER_VARIABLES)
def test_each_variable_needs_a_folder_of_its_own(nnunet_folders, tmp_path, monkeypatch, variable, other):
    if variable == other:
        required_folder(variable)
        return
    (tmp_path / "link").symlink_to(os.environ[other])
    monkeypatch.setenv(variable, str(tmp_path / "link"))
    for checked, named in ((variable, other), (other, variable)):
        with pytest.raises(UserError, match=f"{checked} is .*{named} is the same folder.*a folder of its own"):
            required_folder(checked)
