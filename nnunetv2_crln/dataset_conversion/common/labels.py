"""Convert labels to integers and check their values."""

from collections.abc import Collection

import numpy as np
import SimpleITK as sitk

from nnunetv2_crln.errors import UserError, exact


def integer_values(label: sitk.Image, where: object) -> tuple[np.ndarray, list[int]]:
    """Return the voxels of a label in the smallest unsigned integer type, and the values that occur.

    Args:
        label: Label image of any scalar type.
        where: Name of the label, for the message.

    Returns:
        Voxels (Z, Y, X) and sorted values.

    Raises:
        UserError: A value is negative, not finite, not integral or above 65535, or a voxel is not a single number.
    """
    if label.GetNumberOfComponentsPerPixel() != 1:
        raise UserError(
            f"{where} has {label.GetNumberOfComponentsPerPixel()} values per voxel, expected one class number. "
            "Save it as a scalar image."
        )
    array = sitk.GetArrayFromImage(label)
    values = np.unique(array)
    bad = [v for v in values.tolist() if not np.isfinite(v) or v != round(v) or not 0 <= v <= np.iinfo(np.uint16).max]
    if bad:
        raise UserError(
            f"{where} holds {len(bad)} value(s) that are not class numbers, such as {exact(bad[0])}. "
            "Expected integers from 0 on (stored as any type). Was the label resampled with interpolation?"
        )
    dtype = np.uint8 if values.max() <= np.iinfo(np.uint8).max else np.uint16
    return array.astype(dtype), [int(value) for value in values]


def check_values(found: Collection[int], allowed: Collection[int], where: object) -> None:
    """Check that all values are classes of the dataset.

    Args:
        found: Values that occur in a label.
        allowed: Classes of the dataset.
        where: Name of the label, for the message.

    Raises:
        UserError: Other values occur; the message names them and the allowed ones.
    """
    unexpected = sorted(set(found) - set(allowed))
    if unexpected:
        raise UserError(
            f"{where} holds the label value(s) {unexpected[:10]}, expected only {sorted(allowed)}. "
            "Correct the label, or remove the case."
        )
