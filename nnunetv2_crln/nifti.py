"""Truncated NIfTI files and complex voxels, which readers accept."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

_COMPLEX = (32, 1792, 2048)  # NIfTI-1's codes of complex64, complex128 and complex256


def check_nifti_is_complete(path: str | Path) -> None:
    """Compare a NIfTI file's length with its header; files of other formats pass.

    ITK 5.4 fills what is missing at the end of a NIfTI file with zeros and says nothing; nnU-Net drops the imaginary
    part of complex voxels.

    Raises:
        RuntimeError: The file is shorter than its header promises, its compression is damaged, or its voxels are
            complex.
    """
    path = Path(path)
    if not path.name.endswith((".nii", ".nii.gz")):
        return
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(348)
            found = len(header)
            while block := file.read(1 << 24):
                found += len(block)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RuntimeError(str(error)) from error
    expected, datatype = _nifti_bytes_and_datatype(header)
    if datatype in _COMPLEX:
        raise RuntimeError("its voxels are complex numbers; save their magnitude")
    if found < expected:
        raise RuntimeError(f"{found} bytes, its header promises {expected}")


def _nifti_bytes_and_datatype(header: bytes) -> tuple[int, int]:
    """Length of a single-file NIfTI-1 image and its datatype, by its header.

    Both are 0 for what is no NIfTI-1 header, where ITK will complain.
    """
    for order in "<>":
        if len(header) == 348 and struct.unpack_from(f"{order}i", header)[0] == 348:
            dimensions = struct.unpack_from(f"{order}8h", header, 40)
            voxels = np.prod([max(1, size) for size in dimensions[1 : 1 + dimensions[0]]], dtype=np.int64)
            datatype, bits = struct.unpack_from(f"{order}2h", header, 70)
            offset = struct.unpack_from(f"{order}f", header, 108)[0]
            return int(offset) + int(voxels) * bits // 8, datatype
    return 0, 0
