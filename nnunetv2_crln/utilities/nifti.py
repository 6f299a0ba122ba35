"""Find faults that NIfTI readers silently accept: truncated files, complex voxels, NaN and infinity."""

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_COMPLEX = (32, 1792, 2048)  # NIfTI-1's codes of complex64, complex128 and complex256
_FLOAT = {16: "f4", 64: "f8"}
_HEADER = 348
_BLOCK = 1 << 24


@dataclass(frozen=True)
class _Layout:
    """Header fields of a NIfTI-1 file; all zero if the header is not NIfTI-1 (ITK reports that on reading)."""

    offset: int = 0
    length: int = 0  # of the file, in bytes
    datatype: int = 0
    order: str = "<"


def check_nifti_is_complete(path: str | Path) -> None:
    """Check that a NIfTI file is as long as its header says and its voxels are real; files of other formats pass.

    ITK 5.4 silently fills a truncated NIfTI file with zeros, and nnU-Net drops the imaginary part of complex voxels.

    Raises:
        RuntimeError: The file is shorter than its header promises, its compression is damaged, or its voxels are
            complex.
    """
    _read(Path(path), look_at_voxels=False)


def nifti_is_finite(path: str | Path) -> bool:
    """Check that a complete NIfTI file is free of NaN and infinity, which ITK reads as 0.

    Returns:
        True if all voxels are finite, and for other formats.

    Raises:
        RuntimeError: The file is shorter than its header promises, its compression is damaged, or its voxels are
            complex.
    """
    return _read(Path(path), look_at_voxels=True)


def _read(path: Path, look_at_voxels: bool) -> bool:
    if not path.name.endswith((".nii", ".nii.gz")):
        return True
    finite = True
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(_HEADER)
            layout = _layout(header)
            if layout.datatype in _COMPLEX:
                raise RuntimeError("its voxels are complex numbers; save their magnitude")
            found = len(header) + len(file.read(max(0, layout.offset - _HEADER)))
            kind = layout.order + _FLOAT[layout.datatype] if look_at_voxels and layout.datatype in _FLOAT else None
            while block := file.read(_BLOCK):
                found += len(block)
                if kind:
                    whole = block[: len(block) - len(block) % int(kind[-1])]
                    finite = finite and bool(np.isfinite(np.frombuffer(whole, kind)).all())
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RuntimeError(str(error)) from error
    if found < layout.length:
        raise RuntimeError(f"{found} bytes, its header promises {layout.length}")
    return finite


def _layout(header: bytes) -> _Layout:
    for order in "<>":
        if len(header) == _HEADER and struct.unpack_from(f"{order}i", header)[0] == _HEADER:
            dimensions = struct.unpack_from(f"{order}8h", header, 40)
            voxels = np.prod([max(1, size) for size in dimensions[1 : 1 + dimensions[0]]], dtype=np.int64)
            datatype, bits = struct.unpack_from(f"{order}2h", header, 70)
            offset = int(struct.unpack_from(f"{order}f", header, 108)[0])
            return _Layout(offset, offset + int(voxels) * bits // 8, datatype, order)
    return _Layout()
