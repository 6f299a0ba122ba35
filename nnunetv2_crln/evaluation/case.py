"""Evaluate one prediction file against its label file: read both, check that they match, measure every class."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from nnunetv2_crln.errors import UserError, exact, listing
from nnunetv2_crln.evaluation.metrics import mask_metrics
from nnunetv2_crln.raw_dataset.classes import LabelDefinition
from nnunetv2_crln.raw_dataset.read_errors import explain_read_error
from nnunetv2_crln.raw_dataset.readers import affine_of
from nnunetv2_crln.utilities.nifti import check_nifti_is_complete

# Rounding by other tools (NIfTI stores float32) stays far below these tolerances; a real mix-up does not.
SPACING_TOLERANCE = 1e-3  # relative
DIRECTION_TOLERANCE = 1e-3  # cosines
ORIGIN_TOLERANCE = 1e-2  # voxels


@dataclass(frozen=True)
class Case:
    """Label file and prediction file of one case, and the image that tells which of their headers is off."""

    name: str
    reference_file: Path
    prediction_file: Path
    image_file: Path | None = None


@dataclass(frozen=True)
class Measured:
    """Metrics of one case.

    Attributes:
        metrics: Result of :func:`~nnunetv2_crln.evaluation.metrics.mask_metrics` by class name.
        remark: Text on a header that was overlooked; may be empty.
    """

    metrics: dict[str, dict[str, float]]
    remark: str = ""


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


def evaluate_case(
    case: Case, reader_class: type, definition: LabelDefinition, ignore_origin: bool = False, by_index: bool = False
) -> Measured:
    """Compute all metrics of one case.

    Args:
        case: The two files.
        reader_class: Reader of nnU-Net for the dataset.
        definition: Classes to measure.
        ignore_origin: Compare voxel by voxel although the origins in the headers differ.
        by_index: Compare voxel by voxel whatever the headers say, and measure distances by the prediction's spacing.

    Returns:
        Metrics by class name.

    Raises:
        UserError: A file cannot be read, the geometries differ, or a label value is not in dataset.json.
    """
    reference = read_segmentation(case.reference_file, reader_class)
    prediction = read_segmentation(case.prediction_file, reader_class)
    remark = check_geometry(case, reference, prediction, reader_class, ignore_origin, by_index)
    refuse_unknown_values(case.reference_file, reference.labels, definition.known_in_reference)
    refuse_unknown_values(case.prediction_file, prediction.labels, definition.known_labels)
    # A 2D image is read as a volume of one slice, in which every voxel would be border.
    axes = [axis for axis, size in enumerate(reference.labels.shape) if size > 1] or [0]
    reference_labels, predicted_labels = (_keep_axes(item.labels, axes) for item in (reference, prediction))
    spacing = tuple((prediction if by_index else reference).spacing[axis] for axis in axes)
    ignored = None if definition.ignore_label is None else reference_labels == definition.ignore_label
    metrics = {
        name: mask_metrics(_mask(predicted_labels, labels), _mask(reference_labels, labels), spacing, ignored)
        for name, labels in definition.classes.items()
    }
    return Measured(metrics, remark)


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
        check_nifti_is_complete(path)
        labels, properties = reader_class().read_seg(str(path))
    except Exception as error:  # each reader raises its own kind
        reason = explain_read_error(path, error, is_label=True)
        raise UserError(
            f"Cannot read {path} with {reader_class.__name__} ({type(error).__name__}: {reason}). "
            f"Replace the file; it may be damaged or incomplete."
        ) from error
    if len(labels) != 1:
        raise UserError(f"{path} has {len(labels)} channels, a label map has one. Save it with a single channel.")
    geometry = {}
    if stuff := properties.get("sitk_stuff"):
        geometry = {key: np.asarray(stuff[key], dtype=float) for key in ("origin", "direction")}
    elif stuff := properties.get("nibabel_stuff"):
        geometry = {"affine": affine_of(stuff)}
    return Segmentation(labels[0], tuple(float(size) for size in properties["spacing"]), geometry)


def check_geometry(
    case: Case,
    reference: Segmentation,
    prediction: Segmentation,
    reader_class: type,
    ignore_origin: bool = False,
    by_index: bool = False,
) -> str:
    """Check that label and prediction are on the same voxel grid.

    nnU-Net pairs voxels by index. So a label whose origin alone is off does no harm, if the prediction lies on the grid
    of the image.

    Args:
        case: The two files, and the image that tells which of them is off.
        reference: Label map of the label file.
        prediction: Label map of the prediction file.
        reader_class: Reader of nnU-Net, for the image.
        ignore_origin: Accept any origins.
        by_index: Accept any origins, directions and spacings.

    Returns:
        Remark on a header that was overlooked, or an empty text.

    Raises:
        UserError: Shape, spacing or direction differ, or origins for which there is no image to decide.
    """
    if reference.labels.shape != prediction.labels.shape:
        _raise_geometry(case, "shape (z, y, x)", reference.labels.shape, prediction.labels.shape)
    same_spacing = np.allclose(reference.spacing, prediction.spacing, rtol=SPACING_TOLERANCE, atol=0)
    if by_index:
        overlooked = {*_different_headers(reference, prediction), *(() if same_spacing else ("spacing",))}
        listed = " and ".join(sorted(overlooked))
        return (
            f"{case.name}: {listed} of label and prediction differ; voxels were compared one by one" if listed else ""
        )
    if not same_spacing:
        _raise_geometry(case, "spacing (z, y, x)", reference.spacing, prediction.spacing)
    different = _different_headers(reference, prediction)
    if not different:
        return ""
    at_fault = _at_fault(case, reference, prediction, reader_class)
    if different != {"origin"}:
        keys = sorted(different - {"origin"})
        own, other = ([item.geometry[key].tolist() for key in keys] for item in (prediction, reference))
        _raise_geometry(case, ", ".join(keys), other, own, at_fault)
    if ignore_origin:
        return f"{case.name}: origins differ, ignored"
    if at_fault == f"{case.reference_file}":
        return f"{case.name}: the origin in the label's header is not its image's; voxels were compared one by one"
    own, other = (_origin(item) for item in (prediction, reference))
    _raise_geometry(case, "origin", other, own, at_fault)


def _origin(item: Segmentation) -> list[float]:
    affine = item.geometry.get("affine")
    return (item.geometry["origin"] if affine is None else affine[:3, 3]).tolist()


def _different_headers(reference: Segmentation, prediction: Segmentation) -> set[str]:
    """Return which parts of the headers differ; an affine whose last column alone differs counts as origin."""
    different = set()
    for key, expected in reference.geometry.items():
        found = prediction.geometry.get(key)
        # An affine contains direction × spacing and the origin, all in mm.
        tolerance = DIRECTION_TOLERANCE if key == "direction" else ORIGIN_TOLERANCE * min(reference.spacing)
        if found is None or expected.shape != found.shape:
            different.add(key)
        elif not np.allclose(expected, found, rtol=0, atol=tolerance):
            only_origin = key == "affine" and np.allclose(expected[:3, :3], found[:3, :3], rtol=0, atol=tolerance)
            different.add("origin" if only_origin else key)
    return different


def _at_fault(case: Case, reference: Segmentation, prediction: Segmentation, reader_class: type) -> str:
    """Return the file whose header differs from the image's, or an empty text if that is not known."""
    if case.image_file is None or not case.image_file.is_file():
        return ""
    try:
        image = read_segmentation(case.image_file, reader_class)
    except UserError:
        return ""
    off = [
        str(path)
        for path, item in ((case.reference_file, reference), (case.prediction_file, prediction))
        if image.labels.shape != item.labels.shape or _different_headers(image, item)
    ]
    return off[0] if len(off) == 1 else ""


def refuse_unknown_values(path: Path, labels: np.ndarray, known: frozenset[int]) -> None:
    """Refuse a label map with values that dataset.json does not know.

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
        shown = listing(map(exact, unknown))
        raise UserError(
            f"{path} holds {len(unknown)} unknown label value(s): {shown} ({np.count_nonzero(~is_known)} voxels). "
            f"dataset.json knows {sorted(known)}. Correct the file, or name the right dataset.json with -djfile."
        )


def _raise_geometry(case: Case, what: str, expected: object, found: object, at_fault: str = "") -> NoReturn:
    if at_fault:
        advice = f"The header of {at_fault} differs from that of the image {case.image_file}: correct that header."
    else:
        advice = "Bring the prediction to the grid of the raw image, without resampling the label."
    if what == "origin":
        advice += " To compare voxel by voxel as nnU-Net does: --ignore_origin (ignore_origin=True in Python)."
    raise UserError(
        f"Case {case.name!r}: the prediction's {what} is {found}, the label's {expected} "
        f"({case.prediction_file} against {case.reference_file}). {advice}"
    )


def _keep_axes(labels: np.ndarray, axes: list[int]) -> np.ndarray:
    return labels.reshape([labels.shape[axis] for axis in axes])


def _mask(labels: np.ndarray, values: tuple[int, ...]) -> np.ndarray:
    return np.isin(labels, values)
