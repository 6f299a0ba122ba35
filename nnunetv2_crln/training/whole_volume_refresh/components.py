"""Remove implausible components: extra ones of a class that has exactly one component in every labelled case."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from acvl_utils.morphology.morphology_helper import label_with_component_sizes, remove_all_but_largest_component

Region = int | Sequence[int]
"""Value of a class, or the values that make up a region."""


def masks_of(segmentation: np.ndarray, regions: Sequence[Region]) -> np.ndarray:
    """Split a label map into one mask for each class or region.

    Args:
        segmentation: Label map, (*grid).
        regions: Foreground classes or regions, K of them.

    Returns:
        True inside of each, (K, *grid).
    """
    return np.stack([np.isin(segmentation, np.atleast_1d(np.asarray(region))) for region in regions])


def with_one_component(masks_by_case: Iterable[np.ndarray]) -> np.ndarray:
    """Find the classes that have exactly one connected component in every case.

    Voxels that share a face, an edge or a corner are connected. A class that is absent from a case has none there.

    Args:
        masks_by_case: Mask of each class, (K, *grid), of each labelled case; at least one case.

    Returns:
        True for such classes, (K,).

    Raises:
        ValueError: There is no case.
    """
    single: np.ndarray | None = None
    for masks in masks_by_case:
        single = np.ones(len(masks), dtype=bool) if single is None else single
        for number in np.flatnonzero(single):
            single[number] = len(label_with_component_sizes(masks[number])[1]) == 1
        if not single.any():
            break
    if single is None:
        raise ValueError("no labelled case to learn the number of components from")
    return single


def largest_alone(masks: np.ndarray, single: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keep only the largest component of some classes.

    What is removed is background, unless it touches foreground that stays: then it is more likely a piece of that.

    Args:
        masks: Mask of each class or region, (K, *grid).
        single: True for classes that have one component, (K,).

    Returns:
        The masks without the other components, (K, *grid), and True where a removed component is background, (*grid).
    """
    kept = masks.copy()
    for number in np.flatnonzero(single):
        if masks[number].any():
            kept[number] = remove_all_but_largest_component(masks[number])
    stays = kept.any(0)
    removed: np.ndarray = np.logical_and(masks.any(0), ~stays)
    if removed.any():
        pieces, _ = label_with_component_sizes(stays | removed)
        removed = np.logical_and(removed, ~np.isin(pieces, np.unique(pieces[stays])))
    return kept, removed


def sample_places(masks: np.ndarray, most: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Sample voxels of each class, as nnU-Net's preprocessing does for labelled cases.

    Args:
        masks: Mask of each class or region, (K, *grid).
        most: Largest number of voxels per class.
        rng: Generator to draw from.

    Returns:
        Coordinates for each class, (N, 1 + ndim): channel 0 and the place in the grid.
    """
    places = []
    for mask in masks:
        found = np.argwhere(mask[None]).astype(np.int32)
        if len(found) > most:
            found = found[np.sort(rng.choice(len(found), most, replace=False))]
        places.append(found)
    return places
