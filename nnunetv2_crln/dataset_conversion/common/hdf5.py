"""Read image and label arrays from HDF5 files; only this needs h5py, so it is an optional dependency."""

from pathlib import Path
from types import ModuleType

import numpy as np

from nnunetv2_crln.errors import UserError


def require_h5py() -> ModuleType:
    """Import h5py.

    Raises:
        UserError: h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise UserError(
            "Reading HDF5 files needs h5py, which is not installed. Install it: pip install h5py"
        ) from error
    return h5py


def read_arrays(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Read the data sets ``image`` and, if it exists, ``label``.

    Returns:
        Image and label, both (X, Y, Z); the label is None if it is missing.

    Raises:
        UserError: The file is truncated or not HDF5, has no image, or image and label differ in shape.
    """
    h5py = require_h5py()
    try:
        with h5py.File(path, "r") as file:
            arrays = {key: item[()] for key, item in file.items() if isinstance(item, h5py.Dataset)}
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"Cannot read {path}: it is truncated, damaged or not an HDF5 file ({error}). Download or copy it again."
        ) from error
    if "image" not in arrays:
        raise UserError(f"{path} has no data set 'image' (found: {sorted(arrays)}). Expected 'image' and 'label'.")
    image, label = arrays["image"], arrays.get("label")
    if label is not None and label.shape != image.shape:
        raise UserError(f"{path}: image has shape {image.shape}, label {label.shape}. Expected the same shape.")
    if image.ndim != 3:
        raise UserError(f"{path}: image has shape {image.shape}. Expected three axes.")
    return image, label
