"""Bring a label onto the grid of its scan if the headers say how, and refuse it otherwise."""

import numpy as np
import SimpleITK as sitk

from nnunetv2_crln.dataset_conversion.common.geometry import ROUNDING, Grid, corner_distance, same_spacing
from nnunetv2_crln.errors import UserError

# Grids that differ by less are treated as equal: no voxel would change its nearest neighbour.
HALF_A_VOXEL = 0.5
AXES = "xyz"


def align_label(label: sitk.Image, scan: sitk.Image, where: object) -> tuple[sitk.Image, list[str]]:
    """Bring a label onto the grid of its scan by its header; voxels are reordered, never interpolated.

    The function corrects rounded headers, axes in a different order or direction than the scan's, and headers with
    directions but without a position (origin exactly 0). It refuses everything else.

    Args:
        label: Label image, 3D.
        scan: Scan, 3D.
        where: Name of the label, for the message.

    Returns:
        The label with the geometry of the scan, and the corrections that were made.

    Raises:
        UserError: The headers do not say how the label lies on the scan.
    """
    grid, notes = Grid.of(scan), []
    if corner_distance(grid, Grid.of(label)) <= HALF_A_VOXEL:
        aligned = label
    else:
        aligned = _reoriented_as(label, scan, where)
        change = axis_change(label, aligned)
        if change:
            notes.append(f"label turned to the orientation of the scan ({change})")
        if not any(label.GetOrigin()) and same_spacing(grid, Grid.of(aligned)):
            aligned.SetOrigin(scan.GetOrigin())
            notes.append("label header without position: that of the scan is used")
    distance = corner_distance(grid, Grid.of(aligned))
    if distance > HALF_A_VOXEL:
        raise UserError(
            f"{where} is not on the voxel grid of its scan: label {Grid.of(label)}; scan {grid}. "
            "Expected the same grid, or one that differs by flipped or exchanged axes. Correct the header, "
            "or resample the label to the scan."
        )
    if distance > ROUNDING:
        notes.append("label header slightly off the scan's: that of the scan is used")
    return with_geometry_of(scan, sitk.GetArrayFromImage(aligned)), notes


def _reoriented_as(label: sitk.Image, scan: sitk.Image, where: object) -> sitk.Image:
    # Without qform and sform a NIfTI header does not define directions, and ITK invents some.
    codes = [label.GetMetaData(key) for key in ("qform_code", "sform_code") if label.HasMetaDataKey(key)]
    if codes and all(_is_unset(code) for code in codes):
        raise UserError(
            f"{where} has a NIfTI header without orientation (qform and sform are unset), and its grid is not the "
            "scan's. Say how the label arrays of this dataset are flipped (--flip_labels), or correct the header."
        )
    return sitk.DICOMOrient(label, _orientation(scan))


def _is_unset(code: str) -> bool:
    return code.strip() in ("0", "NIFTI_XFORM_UNKNOWN")


def _orientation(image: sitk.Image) -> str:
    return sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection())


def axis_change(before: sitk.Image, after: sitk.Image) -> str:
    """Describe how the axes were reordered, for example ``flipped along y``.

    Args:
        before: Original image, 3D.
        after: Reordered image, 3D.

    Returns:
        Description; empty if the axes are the same.
    """
    # Rows: axes of the result; columns: axes of the original; ±1 where they are parallel.
    turn = np.reshape(after.GetDirection(), (3, 3)).T @ np.reshape(before.GetDirection(), (3, 3))
    order = np.abs(turn).argmax(axis=1)
    flipped = "".join(AXES[new] for new, old in enumerate(order) if turn[new, old] < 0)
    parts = [f"flipped along {flipped}"] if flipped else []
    if list(order) != [0, 1, 2]:
        parts.append(f"axes {''.join(AXES[old] for old in order)} as xyz")
    return ", ".join(parts)


def flip_label(label: sitk.Image, scan: sitk.Image, axes: str, where: object) -> sitk.Image:
    """Flip the array of a label along the given axes, and give it the geometry of the scan.

    Args:
        label: Label image; of its header only size and spacing are used.
        scan: Scan, 3D.
        axes: Some of ``xyz``; empty for no flip.
        where: Name of the label, for the message.

    Returns:
        The label with the geometry of the scan.

    Raises:
        UserError: Size or spacing differ.
    """
    if not same_spacing(Grid.of(scan), Grid.of(label)):
        raise UserError(
            f"{where} has another size or spacing than its scan: label {Grid.of(label)}; scan {Grid.of(scan)}. "
            "Resample the label to the scan."
        )
    array = sitk.GetArrayFromImage(label)
    return with_geometry_of(scan, np.flip(array, tuple(2 - AXES.index(axis) for axis in axes)))


def with_geometry_of(scan: sitk.Image, array: np.ndarray) -> sitk.Image:
    """Make an image with the spacing, origin and direction of a scan of the same size.

    Args:
        scan: Scan, 3D.
        array: Voxels, (Z, Y, X).

    Returns:
        The image.
    """
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing(scan.GetSpacing())
    image.SetOrigin(scan.GetOrigin())
    image.SetDirection(scan.GetDirection())
    return image
