"""What messages are put together from."""

import numpy as np
import pytest

from nnunetv2_crln.errors import closest, did_you_mean, did_you_mean_path, exact, listing


def test_listing():
    assert listing(["a", "b"]) == "a, b"
    assert listing("abcdefg") == "a, b, c, d, e, … (7 in total)"
    assert listing([]) == ""


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("3d_fulres", "3d_fullres"), ("3D_FULLRES", "3d_fullres"), ("liver", None), ("2d", None)],
)
def test_the_closest_name(wrong, meant):
    known = ["2d", "3d_fullres", "3d_lowres"]
    assert closest(wrong, known) == meant
    assert did_you_mean(wrong, known) == (f" Did you mean {meant}?" if meant else "")


def test_the_first_missing_part_of_a_path_is_compared(tmp_path):
    (tmp_path / "nnUNet_raw" / "Dataset001_A").mkdir(parents=True)
    assert did_you_mean_path(tmp_path / "nnUnet_raw" / "Dataset001_A") == f" Did you mean {tmp_path / 'nnUNet_raw'}?"
    assert did_you_mean_path(tmp_path / "other" / "Dataset001_A") == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float32(0.99999994), "0.99999994"),
        (np.float64(2.0000000001), "2.0000000001"),
        (np.float32(2), "2"),
        (0.5, "0.5"),
        (np.int64(1234567), "1234567"),
        (float("nan"), "nan"),
    ],
)
def test_a_number_is_not_taken_for_another_one(value, text):
    assert exact(value) == text
