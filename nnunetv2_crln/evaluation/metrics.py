"""Compute overlap and surface metrics of two binary masks, as the field reports them (the definitions of medpy).

The border of an object consists of the voxels that one erosion with face connectivity removes. Distances are measured
from every border voxel of one mask to the nearest border voxel of the other.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class Metric:
    """Name and unit of one metric.

    Attributes:
        key: Name in result files.
        title: Name in tables.
        unit: ``%`` for metrics stored as fractions and shown in per cent, or else the unit of the stored number.
    """

    key: str
    title: str
    unit: str

    @property
    def factor(self) -> int:
        """Factor from the stored number to the number in a table."""
        return 100 if self.unit == "%" else 1


METRICS = (
    Metric("Dice", "Dice", "%"),
    Metric("Jaccard", "Jaccard", "%"),
    Metric("ASD_voxel", "ASD", "voxel"),
    Metric("ASD_mm", "ASD", "mm"),
    Metric("ASSD_voxel", "symmetric ASD", "voxel"),
    Metric("ASSD_mm", "symmetric ASD", "mm"),
    Metric("HD95_voxel", "95HD", "voxel"),
    Metric("HD95_mm", "95HD", "mm"),
)


class SurfaceDistances(NamedTuple):
    """Distances between two borders; both arrays are empty if one of the masks has no border.

    Attributes:
        to_reference: From each border voxel of the prediction to the reference's border, (number of voxels,).
        to_prediction: From each border voxel of the reference to the prediction's border, (number of voxels,).
    """

    to_reference: np.ndarray
    to_prediction: np.ndarray


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Compute the Dice coefficient, 2|P ∩ R| / (|P| + |R|).

    Args:
        prediction: Boolean mask of any shape.
        reference: Boolean mask of the same shape.

    Returns:
        Fraction in [0, 1]: 0 if exactly one mask is empty, NaN if both are (nothing to find, nothing found).

    Raises:
        ValueError: The masks are not boolean or differ in shape.

    Example:
        >>> dice(np.array([True, True, False]), np.array([True, False, False]))
        0.6666666666666666
    """
    _check_masks(prediction, reference)
    total = np.count_nonzero(prediction) + np.count_nonzero(reference)
    return float(2 * np.count_nonzero(prediction & reference) / total) if total else float("nan")


def jaccard(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Compute the Jaccard index, |P ∩ R| / |P ∪ R|.

    Args:
        prediction: Boolean mask of any shape.
        reference: Boolean mask of the same shape.

    Returns:
        Fraction in [0, 1]: 0 if exactly one mask is empty, NaN if both are.

    Raises:
        ValueError: The masks are not boolean or differ in shape.
    """
    _check_masks(prediction, reference)
    union = np.count_nonzero(prediction | reference)
    return float(np.count_nonzero(prediction & reference) / union) if union else float("nan")


def border(mask: np.ndarray, ignored: np.ndarray | None = None) -> np.ndarray:
    """Find the border voxels: those of the mask with a face neighbour outside it.

    Outside the volume is background, so an object cut off by the edge of the volume has a border there. Unannotated
    neighbours tell nothing about the object, so they make no border.

    Args:
        mask: Boolean mask, any number of axes.
        ignored: Boolean mask of unannotated voxels, same shape.

    Returns:
        Boolean mask of the same shape.
    """
    solid = mask if ignored is None else mask | ignored
    return mask & ~ndimage.binary_erosion(solid, ndimage.generate_binary_structure(mask.ndim, 1))


def surface_distances(
    prediction: np.ndarray,
    reference: np.ndarray,
    spacing: tuple[float, ...] | None = None,
    ignored: np.ndarray | None = None,
) -> SurfaceDistances:
    """Measure the distances between the borders of two masks, in both directions.

    Args:
        prediction: Boolean mask, any number of axes.
        reference: Boolean mask of the same shape.
        spacing: Size of a voxel along each axis in mm; None measures in voxels.
        ignored: Boolean mask of voxels that count for neither mask, same shape.

    Returns:
        Distances in mm, or in voxels without a spacing.

    Raises:
        ValueError: The masks are not boolean, differ in shape, or the spacing does not fit them.
    """
    _check_masks(prediction, reference)
    if spacing is not None and (len(spacing) != prediction.ndim or min(spacing) <= 0):
        raise ValueError(f"Spacing {tuple(spacing)} is not one positive number for each of {prediction.ndim} axes.")
    borders = _borders(prediction, reference, ignored)
    return _distances_between(*borders, (1.0,) * prediction.ndim if spacing is None else spacing)


def hausdorff95(distances: SurfaceDistances) -> float:
    """Compute the 95 % Hausdorff distance (95HD): the 95th percentile of the distances; NaN if none."""
    pooled = np.concatenate(distances)
    return float(np.percentile(pooled, 95)) if pooled.size else float("nan")


def average_surface_distance(distances: SurfaceDistances) -> float:
    """Compute the average surface distance (ASD), one-way from prediction to reference; NaN without distances."""
    return float(distances.to_reference.mean()) if distances.to_reference.size else float("nan")


def symmetric_average_surface_distance(distances: SurfaceDistances) -> float:
    """Compute the average symmetric surface distance (ASSD), the mean of all distances; NaN without distances."""
    pooled = np.concatenate(distances)
    return float(pooled.mean()) if pooled.size else float("nan")


def mask_metrics(
    prediction: np.ndarray,
    reference: np.ndarray,
    spacing: tuple[float, ...],
    ignored: np.ndarray | None = None,
) -> dict[str, float]:
    """Compute every metric of :data:`METRICS` for one pair of masks.

    Args:
        prediction: Boolean mask, any number of axes.
        reference: Boolean mask of the same shape.
        spacing: Size of a voxel along each axis, in mm.
        ignored: Boolean mask of voxels that count for neither mask, same shape.

    Returns:
        Metrics by key, and ``n_ref`` and ``n_pred``, the sizes of both masks in voxels.

    Raises:
        ValueError: The masks are not boolean, differ in shape, or the spacing does not fit them.
    """
    if ignored is not None:
        prediction, reference = prediction & ~ignored, reference & ~ignored
    in_voxels = surface_distances(prediction, reference, None, ignored)
    in_mm = _in_mm(in_voxels, prediction, reference, spacing, ignored)
    values: dict[str, float] = {"Dice": dice(prediction, reference), "Jaccard": jaccard(prediction, reference)}
    for unit, distances in (("voxel", in_voxels), ("mm", in_mm)):
        values[f"ASD_{unit}"] = average_surface_distance(distances)
        values[f"ASSD_{unit}"] = symmetric_average_surface_distance(distances)
        values[f"HD95_{unit}"] = hausdorff95(distances)
    values["n_ref"] = int(np.count_nonzero(reference))
    values["n_pred"] = int(np.count_nonzero(prediction))
    return values


def _in_mm(
    in_voxels: SurfaceDistances,
    prediction: np.ndarray,
    reference: np.ndarray,
    spacing: tuple[float, ...],
    ignored: np.ndarray | None,
) -> SurfaceDistances:
    if len(set(spacing)) == 1 and len(spacing) == prediction.ndim and spacing[0] > 0:
        # For isotropic voxels (Left Atrium, Pancreas-CT) the second pair of distance transforms is only a scaling.
        return SurfaceDistances(in_voxels.to_reference * spacing[0], in_voxels.to_prediction * spacing[0])
    return surface_distances(prediction, reference, spacing, ignored)


def _borders(
    prediction: np.ndarray, reference: np.ndarray, ignored: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Find both borders within the bounding box of the union of the masks.

    Both borders, and hence all nearest voxels, are inside that box: cropping changes no distance. The margin of one
    voxel keeps the neighbours that determine the border.
    """
    box = _bounding_box(prediction | reference, margin=1)
    prediction, reference = prediction[box], reference[box]
    if ignored is None:
        return border(prediction), border(reference)
    ignored = ignored[box]
    return border(prediction & ~ignored, ignored), border(reference & ~ignored, ignored)


def _bounding_box(mask: np.ndarray, margin: int) -> tuple[slice, ...]:
    slices = []
    for axis in range(mask.ndim):
        occupied = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        if not occupied.size:
            return (slice(0, 0),) * mask.ndim
        slices.append(slice(max(0, int(occupied[0]) - margin), int(occupied[-1]) + 1 + margin))
    return tuple(slices)


def _distances_between(
    prediction_border: np.ndarray, reference_border: np.ndarray, spacing: tuple[float, ...]
) -> SurfaceDistances:
    if not (prediction_border.any() and reference_border.any()):
        return SurfaceDistances(np.empty(0), np.empty(0))
    return SurfaceDistances(
        _distances_to(reference_border, prediction_border, spacing),
        _distances_to(prediction_border, reference_border, spacing),
    )


def _distances_to(target: np.ndarray, source: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Measure the distance from each voxel of ``source`` to the nearest of ``target``, (number of source voxels,)."""
    # Ask only for the index of the nearest voxel: scipy would compute distances for the whole box, in float64 and axis
    # by axis. A k-d tree of border voxels is even faster for similar surfaces, but several times slower for concentric
    # ones (a prediction far too small), where all voxels are about equally near.
    nearest = ndimage.distance_transform_edt(~target, sampling=spacing, return_distances=False, return_indices=True)
    squared = np.zeros(np.count_nonzero(source))
    for axis, positions in enumerate(np.nonzero(source)):
        squared += ((nearest[axis][source] - positions) * spacing[axis]) ** 2
    return np.sqrt(squared)


def _check_masks(prediction: np.ndarray, reference: np.ndarray) -> None:
    if prediction.dtype != bool or reference.dtype != bool:
        raise ValueError(f"Masks must be boolean, not {prediction.dtype} and {reference.dtype}: write `labels == 1`.")
    if prediction.shape != reference.shape:
        raise ValueError(f"The masks differ in shape: prediction {prediction.shape}, reference {reference.shape}.")
