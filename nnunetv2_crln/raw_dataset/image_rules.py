"""Rules for the voxels and the geometry of images, shared by the check of a dataset and by the addition of scans."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnunetv2_crln.raw_dataset.survey import ChannelReport

# A factor between spacings that no scanner protocol explains, but a header in metres or without spacing does.
SPACING_FACTOR = 10

# Most label maps have at most this many different values; hardly any scan does.
LABEL_VALUES = 32

_SAME_DIRECTION = 1e-2  # in each number of a direction, about half a degree

CaseReports = Sequence[ChannelReport]
"""Descriptions of the files of one case."""


def number_of_channels_in(reports: CaseReports) -> int:
    """Return how many channels the files of a case hold; some formats hold all of them in one file."""
    return sum(report.shape[0] for report in reports)


def has_valid_geometry(report: ChannelReport) -> bool:
    """Tell whether spacing, origin and direction are finite, and the spacing above 0."""
    return bool(np.isfinite(report.placement).all() and np.isfinite(report.spacing).all() and min(report.spacing) > 0)


def share_a_grid(reports: CaseReports) -> bool:
    """Tell whether all files of a case have the same shape and spacing."""
    first = reports[0]
    return all(r.shape[1:] == first.shape[1:] and np.allclose(r.spacing, first.spacing) for r in reports)


def share_directions(reports: CaseReports) -> bool:
    """Tell whether the axes of all files of a case point in the same directions.

    Directions of different lengths mean different numbers of dimensions, which is an error of its own.
    """
    return not any(turned(report.direction, reports[0].direction) for report in reports)


def turned(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> bool:
    """Tell whether two images are flipped or turned against each other, by more than rounding of their headers.

    Args:
        first: Direction of the axes of one image, as numbers in a row.
        second: Direction of the axes of the other image.

    Returns:
        True if they differ; False if they cannot be compared, because one is missing or not finite.
    """
    comparable = len(first) == len(second) and np.isfinite([*first, *second]).all()
    return bool(comparable) and not np.allclose(first, second, atol=_SAME_DIRECTION)


def is_flat(reports: CaseReports) -> bool:
    """Tell whether a case is 2D: nnU-Net's readers give such images a first axis of length 1."""
    return reports[0].shape[1] == 1


def differs_in_dimension(reports: CaseReports, labelled: Sequence[CaseReports]) -> bool:
    """Tell whether a case is 2D and all labelled cases are 3D, or the other way round.

    Args:
        reports: Descriptions of the case's files.
        labelled: Descriptions of the labelled cases.

    Returns:
        False if the labelled cases themselves differ.
    """
    return {is_flat(case) for case in labelled} == {not is_flat(reports)}


def axes_with_odd_spacing(report: ChannelReport, labelled: Sequence[CaseReports]) -> np.ndarray:
    """Find the axes whose spacing is :data:`SPACING_FACTOR` times or more outside the range of the labelled cases.

    Args:
        report: Description of one file.
        labelled: Descriptions of the labelled cases.

    Returns:
        One value per axis, (ndim,), bool. All False if the labelled cases have another number of axes: images with
        several values per voxel have a spacing for two axes only, and their number of channels is the error.
    """
    expected = np.array([case[0].spacing for case in labelled])
    spacing = np.array(report.spacing)
    if expected.shape[1:] != spacing.shape:
        return np.zeros(len(spacing), dtype=bool)
    factor = SPACING_FACTOR * (1 - 1e-6)  # allow for rounding: 0.1 is not exactly a tenth of 1
    return (spacing >= expected.max(0) * factor) | (spacing <= expected.min(0) / factor)


def resembles_a_label(reports: CaseReports, labelled: Sequence[CaseReports]) -> bool:
    """Tell whether a case has so few different values that it may be a label among the images.

    Args:
        reports: Descriptions of the case's files.
        labelled: Descriptions of the labelled cases.

    Returns:
        False for constant images, and if images of labelled cases have few values, too.
    """
    usual = min((report.values for case in labelled for report in case if not report.constant), default=0)
    return any(1 < report.values <= LABEL_VALUES for report in reports) and usual > LABEL_VALUES
