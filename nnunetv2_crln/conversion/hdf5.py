"""Reads image and label arrays from HDF5 files. h5py is needed for this alone, so it is an optional dependency."""

from pathlib import Path
from types import ModuleType

import numpy as np

from nnunetv2_crln.errors import UserError


def require_h5py() -> ModuleType:
    """Import h5py.

    Raises:
        UserError: It is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise UserError(
            "Reading HDF5 files needs h5py, which is not installed. Install it: pip install 'nnunetv2_crln[conversion]'"
        ) from error
    return h5py


def read_arrays(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Read the data sets ``image`` and, if there is one, ``label``.

    Raises:
        UserError: The file is truncated or no HDF5 file, has no image, or image and label differ in shape.
    """
    h5py = require_h5py()
    try:
        with h5py.File(path, "r") as file:
            missing = not isinstance(file.get("image"), h5py.Dataset)
            present = sorted(file)
            image = None if missing else file["image"][()]
            label = file["label"][()] if isinstance(file.get("label"), h5py.Dataset) else None
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"Cannot read {path}: it is truncated, damaged or no HDF5 file ({error}). Download or copy it again."
        ) from error
    if missing:
        raise UserError(f"{path} has no data set 'image' (found: {present}). Expected 'image' and 'label'.")
    if label is not None and label.shape != image.shape:
        raise UserError(f"{path}: image has shape {image.shape}, label {label.shape}. Expected the same shape.")
    if image.ndim != 3:
        raise UserError(f"{path}: image has shape {image.shape}. Expected three axes.")
    return image, label
