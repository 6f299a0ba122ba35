"""The reader of nnU-Net for a dataset, found without tracebacks."""

import numpy as np
import pytest
import tifffile

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.raw_dataset.readers import reader_class_of


def test_no_traceback_of_readers_that_do_not_fit(tmp_path, capsys):
    path = tmp_path / "a_0000.tif"
    tifffile.imwrite(path, np.zeros((8, 5, 6), np.float32), photometric="minisblack")
    assert reader_class_of({"file_ending": ".tif"}, path).__name__ == "Tiff3DIO"
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        (".nii.gz", r"opens .*a_0000\.nii\.gz: it is not compressed"),
        (".xyz", r"file_ending '\.xyz'\)\. Expected .*\.nii\.gz"),
    ],
)
def test_a_file_that_no_reader_opens_is_named_with_the_reason(tmp_path, capsys, ending, message):
    path = tmp_path / f"a_0000{ending}"
    path.write_bytes(b"no image")
    with pytest.raises(UserError, match=message):
        reader_class_of({"file_ending": ending}, path)
    assert "Traceback" not in capsys.readouterr().err
