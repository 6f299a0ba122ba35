"""Evaluate one prediction file against its label file: read both, check that they match, measure every class."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.evaluation.classes import LabelDefinition
from nnunetv2_crln.evaluation.metrics import mask_metrics

# Rounding by other tools (NIfTI stores float32) stays far below these tolerances; a real mix-up does not.
SPACING_TOLERANCE = 1e-3  # relative
DIRECTION_TOLERANCE = 1e-3  # cosines
ORIGIN_TOLERANCE = 1e-2  # voxels
ORIGIN_OR_DIRECTION = ("origin", "direction", "original_affine")


@dataclass(frozen=True)
class Case:
    """Label file and prediction file of one case."""

    name: str
    reference_file: Path
    prediction_file: Path


@dataclass(frozen=True)
class Segmentation:
    """Label map as nnU-Net's reader returns it.

    Attributes:
        labels: Label values, (Z, Y, X).
        spacing: Size of a voxel along the same axes, in mm.
        geometry: Other geometry of the file format (origin, direction, affine), in the reader's own order of axes.
    """

    labels: np.ndarray
    spacing: tuple[float, ...]
    geometry: Mapping[str, np.ndarray]


def evaluate_case(case: Case, reader_class: type, definition: LabelDefinition) -> dict[str, dict[str, float]]:
    """Compute all metrics of one case.

    Args:
        case: The two files.
        reader_class: Reader of nnU-Net for the dataset.
        definition: Classes to measure.

    Returns:
        Result of :func:`~nnunetv2_crln.evaluation.metrics.mask_metrics` by class name.

    Raises:
        UserError: A file cannot be read, the geometries differ, or a label value is not in dataset.json.
    """
    reference = read_segmentation(case.reference_file, reader_class)
    prediction = read_segmentation(case.prediction_file, reader_class)
    check_geometry(case, reference, prediction)
    check_labels(case.reference_file, reference.labels, definition.known_in_reference)
    check_labels(case.prediction_file, prediction.labels, definition.known_labels)
    # A 2D image is read as a volume of one slice, in which every voxel would be border.
    axes = [axis for axis, size in enumerate(reference.labels.shape) if size > 1] or [0]
    reference_labels, predicted_labels = (_keep_axes(item.labels, axes) for item in (reference, prediction))
    spacing = tuple(reference.spacing[axis] for axis in axes)
    ignored = None if definition.ignore_label is None else reference_labels == definition.ignore_label
    return {
        name: mask_metrics(_mask(predicted_labels, labels), _mask(reference_labels, labels), spacing, ignored)
        for name, labels in definition.classes.items()
    }


def read_segmentation(path: Path, reader_class: type) -> Segmentation:
    """Read a label map with nnU-Net's reader.

    Args:
        path: Path of the file.
        reader_class: Reader of nnU-Net.

    Returns:
        The label map.

    Raises:
        UserError: The reader fails, or the file has several channels.
    """
    try:
        labels, properties = reader_class().read_seg(str(path))
    except Exception as error:  # each reader raises its own kind
        raise UserError(
            f"Cannot read {path} with {reader_class.__name__} ({type(error).__name__}: {error}). "
            f"Replace the file; it may be damaged or incomplete."
        ) from error
    if len(labels) != 1:
        raise UserError(f"{path} has {len(labels)} channels, a label map has one. Save it with a single channel.")
    geometry = {
        key: np.asarray(value, dtype=float)
        for stuff in ("sitk_stuff", "nibabel_stuff")
        for key, value in properties.get(stuff, {}).items()
        if key in ORIGIN_OR_DIRECTION
    }
    return Segmentation(labels[0], tuple(float(size) for size in properties["spacing"]), geometry)


def check_geometry(case: Case, reference: Segmentation, prediction: Segmentation) -> None:
    """Check that label and prediction are on the same voxel grid.

    Args:
        case: The two files, for the message.
        reference: Label map of the label file.
        prediction: Label map of the prediction file.

    Raises:
        UserError: Shape, spacing, origin, direction or affine differ.
    """
    if reference.labels.shape != prediction.labels.shape:
        _raise_geometry(case, "shape (z, y, x)", reference.labels.shape, prediction.labels.shape)
    if not np.allclose(reference.spacing, prediction.spacing, rtol=SPACING_TOLERANCE, atol=0):
        _raise_geometry(case, "spacing (z, y, x)", reference.spacing, prediction.spacing)
    for key, expected in reference.geometry.items():
        found = prediction.geometry[key]
        # An affine contains direction × spacing and the origin, all in mm.
        tolerance = DIRECTION_TOLERANCE if key == "direction" else ORIGIN_TOLERANCE * min(reference.spacing)
        if expected.shape != found.shape or not np.allclose(expected, found, rtol=0, atol=tolerance):
            _raise_geometry(case, key, expected.tolist(), found.tolist())


def check_labels(path: Path, labels: np.ndarray, known: frozenset[int]) -> None:
    """Check that every voxel has a label value of dataset.json.

    Args:
        path: Path of the file, for the message.
        labels: Label values, (Z, Y, X).
        known: Values of dataset.json.

    Raises:
        UserError: Another value occurs.
    """
    is_known = np.isin(labels, sorted(known))
    if not is_known.all():
        unknown = np.unique(labels[~is_known])
        shown = ", ".join(f"{value:g}" for value in unknown[:5]) + (", …" if len(unknown) > 5 else "")
        raise UserError(
            f"{path} holds {len(unknown)} unknown label value(s): {shown} ({np.count_nonzero(~is_known)} voxels). "
            f"dataset.json knows {sorted(known)}. Correct the file, or name the right dataset.json with -djfile."
        )


def _raise_geometry(case: Case, what: str, expected: object, found: object) -> None:
    raise UserError(
        f"Case {case.name!r}: the prediction's {what} is {found}, the label's {expected} "
        f"({case.prediction_file} against {case.reference_file}). "
        f"Bring the prediction to the grid of the label (the raw image's), without resampling the label."
    )


def _keep_axes(labels: np.ndarray, axes: list[int]) -> np.ndarray:
    return labels.reshape([labels.shape[axis] for axis in axes])


def _mask(labels: np.ndarray, values: tuple[int, ...]) -> np.ndarray:
    return np.isin(labels, values)
