"""Represent a case during its conversion to the nnU-Net format, and check it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_crln.dataset_conversion.common.geometry import ROUNDING, Grid, corner_distance
from nnunetv2_crln.dataset_conversion.common.labels import check_values, integer_values
from nnunetv2_crln.dataset_conversion.common.orientation import HALF_A_VOXEL, with_geometry_of
from nnunetv2_crln.errors import UserError


@dataclass(frozen=True)
class SourceCase:
    """Files of one case as downloaded.

    Attributes:
        images: One path per channel: an image file, or the folder of a DICOM series.
        label: Path of the label; None if there is none.
    """

    images: tuple[Path, ...]
    label: Path | None


@dataclass(frozen=True)
class ConvertedCase:
    """One case in memory.

    Attributes:
        images: One scan per channel, all on one grid.
        label: Class numbers from 0, on the same grid; None if there is none.
        notes: Corrections that were made.
    """

    images: tuple[sitk.Image, ...]
    label: sitk.Image | None
    notes: list[str] = field(default_factory=list)


def check_scan(scan: sitk.Image, where: object) -> sitk.Image:
    """Check that a scan is 3D, not constant, and has one finite value per voxel.

    Args:
        scan: The scan.
        where: Name of the scan, for the message.

    Returns:
        The scan.

    Raises:
        UserError: The scan does not pass.
    """
    if scan.GetDimension() != 3 or min(scan.GetSize()) < 2:
        raise UserError(f"{where} is not a 3D image (size {list(scan.GetSize())}). Expected one volume per file.")
    if scan.GetNumberOfComponentsPerPixel() != 1:
        raise UserError(f"{where} has {scan.GetNumberOfComponentsPerPixel()} values per voxel. Expected one.")
    array = sitk.GetArrayViewFromImage(scan)
    if not np.isfinite(array).all():
        raise UserError(f"{where} holds NaN or infinite voxels. Replace them, for example by the background value.")
    if array.min() == array.max():
        raise UserError(f"{where} is constant: every voxel is {array.flat[0]:g}. Download the file again.")
    return scan


def on_one_grid(scans: list[sitk.Image], names: list[object]) -> tuple[tuple[sitk.Image, ...], list[str]]:
    """Give all channels of a case the geometry of the first one.

    Args:
        scans: Channels of the case.
        names: Names of the channels, for the message.

    Returns:
        The channels, and the corrections that were made.

    Raises:
        UserError: A channel is on a different grid.
    """
    first, notes = scans[0], []
    for scan, name in zip(scans[1:], names[1:], strict=True):
        distance = corner_distance(Grid.of(first), Grid.of(scan))
        if distance > HALF_A_VOXEL:
            raise UserError(
                f"{name} has a different voxel grid than {names[0]}: {Grid.of(scan)} instead of {Grid.of(first)}. "
                "Resample all channels of the case to one grid."
            )
        if distance > ROUNDING:
            notes.append("channel header slightly off the first one's: that of the first is used")
            scan.CopyInformation(first)
    return tuple(scans), notes


def recoded(label: sitk.Image, codes: Mapping[int, int], where: object) -> sitk.Image:
    """Replace label values by class numbers.

    Args:
        label: Label image of any scalar type.
        codes: Class number of each value in the file; other values are refused.
        where: Name of the label, for the message.

    Returns:
        Label image of class numbers.

    Raises:
        UserError: A value is not in ``codes`` or not an integer, or all voxels are background.
    """
    array, values = integer_values(label, where)
    check_values(values, codes, where)
    table = np.zeros(max(codes) + 1, dtype=np.uint8)
    for value, class_number in codes.items():
        table[value] = class_number
    classes = table[array]
    if not classes.any():
        raise UserError(f"{where} marks nothing: every voxel is background. Download the label again.")
    return with_geometry_of(label, classes)


def recoded_mask(label: sitk.Image, where: object) -> sitk.Image:
    """Replace the values of a mask, which some tools write as 0 and 255, by the classes 0 and 1.

    Args:
        label: Label image of any scalar type.
        where: Name of the label, for the message.

    Returns:
        Label image of class numbers.

    Raises:
        UserError: The label holds other values, 1 and 255 together, or background alone.
    """
    _, values = integer_values(label, where)
    return recoded(label, {0: 0, 255 if 255 in values else 1: 1}, where)
