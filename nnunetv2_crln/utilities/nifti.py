"""Find faults that NIfTI readers silently accept: truncated files, complex voxels, NaN, odd headers."""

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti1 import data_type_codes as types

_HEADER = Nifti1Header.sizeof_hdr
_BLOCK = 1 << 24
_RIGHT_ANGLE = 1e-3  # cosine between two axes; ITK refuses more than about this
_GEOMETRY = (
    *("pixdim", "srow_x", "srow_y", "srow_z"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
)


@dataclass(frozen=True)
class _Layout:
    """Layout of a single-file NIfTI-1 image; empty if the header is not NIfTI-1 (ITK reports that on reading)."""

    offset: int = 0
    length: int = 0  # of the file, in bytes
    voxel: np.dtype | None = None


def check_nifti_is_complete(path: str | Path) -> None:
    """Check that a NIfTI file is as long as its header says and its voxels are real; files of other formats pass.

    ITK 5.4 silently fills a truncated NIfTI file with zeros, and nnU-Net drops the imaginary part of complex voxels.

    Raises:
        RuntimeError: The file is shorter than its header promises, its compression is damaged, or its voxels are
            complex.
    """
    _read(Path(path), look_at_voxels=False)


def nifti_is_finite(path: str | Path) -> bool:
    """Check that a complete NIfTI file is free of NaN and infinity, which ITK reads as 0; True for other formats.

    Raises:
        RuntimeError: The file is not complete, see :func:`check_nifti_is_complete`.
    """
    return _read(Path(path), look_at_voxels=True)


def find_header_fault(path: str | Path) -> str | None:
    """Find the fault in a NIfTI header that makes readers fail with a misleading message.

    Args:
        path: Path of any file; formats other than NIfTI-1 have no fault.

    Returns:
        The fault and its fix, or None.
    """
    header = _header(Path(path))
    if header is None:
        return None
    if broken := [name for name in _GEOMETRY if not np.isfinite(header[name]).all()]:
        return (
            f"its header holds NaN or infinity in {', '.join(broken)}: write the header anew from its series, or copy "
            "these fields from another image of the scanner"
        )
    axes = header.get_best_affine()[:3, :3]
    lengths = np.linalg.norm(axes, axis=0)
    if not lengths.all() or not np.allclose((axes / lengths).T @ (axes / lengths), np.eye(3), atol=_RIGHT_ANGLE):
        return (
            "the axes in its header (sform) are not at right angles (not orthonormal), which SimpleITK refuses: set "
            '"overwrite_image_reader_writer": "NibabelIO" in dataset.json for all files, or resample this one'
        )
    return None


def _header(path: Path) -> Nifti1Header | None:
    try:
        with _open(path) as file:
            return _parse(file.read(_HEADER))
    except (OSError, EOFError, zlib.error):
        return None


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb")


def _parse(block: bytes) -> Nifti1Header | None:
    if len(block) != _HEADER:
        return None
    header = Nifti1Header(block, check=False)
    return header if header["sizeof_hdr"] == _HEADER else None


def _read(path: Path, look_at_voxels: bool) -> bool:
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return True
    finite = True
    try:
        with _open(path) as file:
            header = file.read(_HEADER)
            layout = _layout(_parse(header))
            if layout.voxel is not None and layout.voxel.kind == "c":
                raise RuntimeError("its voxels are complex numbers; save their magnitude")
            found = len(header) + len(file.read(max(0, layout.offset - _HEADER)))
            kind = layout.voxel if look_at_voxels and _is_float(layout.voxel) else None
            while block := file.read(_BLOCK):
                found += len(block)
                if kind is not None:
                    whole = block[: len(block) - len(block) % kind.itemsize]
                    finite = finite and bool(np.isfinite(np.frombuffer(whole, kind)).all())
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RuntimeError(str(error)) from error
    if found < layout.length:
        raise RuntimeError(f"{found} bytes, its header promises {layout.length}")
    return finite


def _is_float(voxel: np.dtype | None) -> bool:
    # numpy's longest floats are not stored as NIfTI stores them.
    return voxel is not None and voxel.kind == "f" and voxel.itemsize <= 8


def _layout(header: Nifti1Header | None) -> _Layout:
    if header is None:
        return _Layout()
    sizes = [max(1, int(size)) for size in header["dim"][1 : 1 + int(header["dim"][0])]]
    voxels = int(np.prod(sizes, dtype=np.int64))
    offset = int(np.nan_to_num(header["vox_offset"]))
    code = int(header["datatype"])
    known: Any = types.dtype[code] if code in types else None  # nibabel 5.0: no get, no "in" on types.dtype
    voxel = None if known is None else known.newbyteorder(header.endianness)
    return _Layout(offset, offset + voxels * int(header["bitpix"]) // 8, voxel)
