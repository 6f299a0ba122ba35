"""NIfTI files that readers accept in silence, and headers that make them fail with another text."""

import gzip
import re

import nibabel
import numpy as np
import pytest

from nnunetv2_crln.utilities.nifti import check_nifti_is_complete, find_header_fault, nifti_is_finite


def write(path, voxels=None, **fields):
    """Write a NIfTI file whose header holds exactly these fields."""
    voxels = np.ones((4, 5, 6), np.float32) if voxels is None else voxels
    header = nibabel.Nifti1Image(voxels, np.diag([1, 1, 2, 1.0])).header
    header["vox_offset"], header["magic"] = 352, b"n+1"
    for name, value in fields.items():
        header[name] = value
    content = header.binaryblock + bytes(4) + voxels.tobytes(order="F")
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, np.float64])
def test_complete_files_pass(tmp_path, kind, ending):
    path = write(tmp_path / f"a{ending}", np.ones((4, 5, 6), kind))
    check_nifti_is_complete(path)
    assert nifti_is_finite(path) and find_header_fault(path) is None


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_missing_end_is_seen(tmp_path, ending):
    whole = write(tmp_path / f"a{ending}")
    content = gzip.decompress(whole.read_bytes()) if ending.endswith("gz") else whole.read_bytes()
    whole.write_bytes(gzip.compress(content[:-7]) if ending.endswith("gz") else content[:-7])
    with pytest.raises(RuntimeError, match=r"825 bytes, its header promises 832"):
        check_nifti_is_complete(whole)


def test_damaged_compression_is_seen(tmp_path):
    path = write(tmp_path / "a.nii.gz")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(RuntimeError):
        nifti_is_finite(path)


def test_complex_voxels_are_refused(tmp_path):
    with pytest.raises(RuntimeError, match="complex"):
        check_nifti_is_complete(write(tmp_path / "a.nii", np.ones((4, 5, 6), np.complex64)))


@pytest.mark.parametrize("kind", [">f4", "<f8"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_not_finite_are_seen_in_either_byte_order(tmp_path, kind, value):
    voxels = np.ones((4, 5, 6), kind)
    voxels[1, 2, 3] = value
    path = tmp_path / "a.nii"
    header = nibabel.Nifti1Header(endianness=kind[0])
    header.set_data_dtype(kind)
    header.set_data_shape(voxels.shape)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    path.write_bytes(header.binaryblock + bytes(4) + voxels.tobytes(order="F"))
    assert not nifti_is_finite(path)


def test_other_formats_and_other_headers_pass(tmp_path):
    for name, content in (("a.nrrd", b"NRRD0004"), ("b.nii", bytes(400)), ("c.nii", b"text")):
        (tmp_path / name).write_bytes(content)
        check_nifti_is_complete(tmp_path / name)
        assert find_header_fault(tmp_path / name) is None


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"srow_x": [np.nan, 0, 0, 0], "sform_code": 1}, "NaN or infinity in srow_x"),
        ({"qoffset_y": np.inf}, "NaN or infinity in qoffset_y"),
        ({"srow_x": [1, 0.05, 0, 0], "sform_code": 1, "qform_code": 0}, "not at right angles.*NibabelIO"),
        ({"srow_x": [0, 0, 0, 0], "sform_code": 1, "qform_code": 0}, "not at right angles"),
    ],
)
def test_faults_of_the_header_are_named_with_the_way_out(tmp_path, fields, text):
    assert re.search(text, find_header_fault(write(tmp_path / "a.nii.gz", **fields)))
