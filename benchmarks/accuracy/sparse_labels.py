"""Partly labelled cases: every fifth slice of a label, or short scribbles; nnU-Net ignores everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    import SimpleITK as sitk

EVERY = 5
STEPS = 20
"""Voxels of a scribble, at most."""


def make_sparse(label: sitk.Image, keep: str, ignore: int, rng: np.random.Generator) -> sitk.Image:
    """Keep a part of a label.

    Args:
        label: Whole label.
        keep: ``slices`` or ``scribbles``.
        ignore: Value of ignored voxels.
        rng: Draws the scribbles.

    Returns:
        Sparse label with the same geometry.
    """
    import SimpleITK as sitk

    voxels = sitk.GetArrayFromImage(label).astype(np.uint8)
    axis = int(np.argmax(label.GetSpacing()[::-1]))  # across the thickest slices, the first of equals
    sparse = keep_slices(voxels, ignore, axis) if keep == "slices" else keep_scribbles(voxels, ignore, axis, rng)
    result = sitk.GetImageFromArray(sparse)
    result.CopyInformation(label)
    return result


def keep_slices(labels: np.ndarray, ignore: int, axis: int) -> np.ndarray:
    """Keep every fifth slice; all other voxels are ignored.

    Args:
        labels: Label map, three axes.
        ignore: Value of ignored voxels.
        axis: To cut across.

    Returns:
        Sparse label map.
    """
    sparse = np.full_like(labels, ignore)
    kept = [slice(None)] * labels.ndim
    kept[axis] = slice(EVERY // 2, None, EVERY)
    sparse[tuple(kept)] = labels[tuple(kept)]
    return sparse


def keep_scribbles(labels: np.ndarray, ignore: int, axis: int, rng: np.random.Generator) -> np.ndarray:
    """Keep a random walk inside each class of every slice, background included; all other voxels are ignored.

    Args:
        labels: Label map, three axes.
        ignore: Value of ignored voxels.
        axis: To cut across.
        rng: Draws the walks.

    Returns:
        Sparse label map.
    """
    sparse = np.full_like(labels, ignore)
    for full, kept in zip(np.moveaxis(labels, axis, 0), np.moveaxis(sparse, axis, 0), strict=True):
        for value in np.unique(full):
            inside = ndimage.binary_erosion(full == value)  # nobody draws along the very border
            if inside.any():
                kept[_walk(inside, rng)] = value
    return sparse


def _walk(inside: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Walk straight on where possible, and turn at random where not."""
    place = rng.choice(np.argwhere(inside))
    step, path = rng.choice([(0, 1), (1, 0), (0, -1), (-1, 0)]), [place]
    for _ in range(STEPS):
        ahead = place + step
        if not ((ahead >= 0) & (ahead < inside.shape)).all() or not inside[tuple(ahead)]:
            step = rng.choice([(0, 1), (1, 0), (0, -1), (-1, 0)])
            continue
        place = ahead
        path.append(place)
    rows, columns = np.array(path).T
    return rows, columns
