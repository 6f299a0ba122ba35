"""Errors of nnU-Net's steps become what our own checks find in the files."""

import numpy as np
import pytest
import tifffile
from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json
from synthetic import write_image

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.plan_and_preprocess.nnunet_steps import explaining_nnunet_errors, refuse_no_process
from nnunetv2_crln.plan_and_preprocess.options import Options
from nnunetv2_crln.raw_dataset.folders import DatasetFolders

OPTIONS = Options(datasets=(999,), fingerprint_processes=1, show_progress=False)


@pytest.fixture
def folders(make_dataset, tmp_path):
    raw = make_dataset(shape=(8, 8, 8))
    return DatasetFolders(raw.name, raw, tmp_path / "preprocessed" / raw.name)


def test_the_file_at_fault_is_named_instead_of_the_error(folders):
    write_image(np.full((8, 8, 8), 9, np.uint8), folders.raw / "labelsTr" / "lab_001.nii.gz")
    with (
        pytest.raises(UserError, match=r"lab_001\.nii\.gz has the value\(s\) 9"),
        explaining_nnunet_errors("step", folders, OPTIONS),
    ):
        raise IndexError("index -1 is out of bounds for axis 0 with size 0")


def test_without_a_fault_in_the_files_the_error_is_told(folders):
    with (
        pytest.raises(UserError, match=r"nnU-Net's step failed .*IndexError: index -1.*test_nnunet_steps.py, line"),
        explaining_nnunet_errors("step", folders, OPTIONS),
    ):
        raise IndexError("index -1 is out of bounds for axis 0 with size 0")


@pytest.mark.parametrize(("value", "refused"), [("0", True), (" 0", True), ("1", False), (None, False)])
def test_planning_needs_a_process(monkeypatch, value, refused):
    monkeypatch.delenv("nnUNet_n_proc_DA", raising=False)
    if value is not None:
        monkeypatch.setenv("nnUNet_n_proc_DA", value)
    if refused:
        with pytest.raises(UserError, match=r"nnUNet_n_proc_DA is 0.*export nnUNet_n_proc_DA=1"):
            refuse_no_process()
    else:
        refuse_no_process()


def test_no_traceback_of_readers_that_do_not_fit(folders, tmp_path, capsys):
    path = tmp_path / "a_0000.tif"
    tifffile.imwrite(path, np.zeros((8, 5, 6), np.float32), photometric="minisblack")
    with explaining_nnunet_errors("step", folders, OPTIONS):
        reader = determine_reader_writer_from_dataset_json({"file_ending": ".tif"}, str(path), verbose=False)
    assert reader.__name__ == "Tiff3DIO"
    assert "Traceback" not in capsys.readouterr().err
