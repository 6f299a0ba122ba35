"""Compute the landmarks of a preprocessed case: quantiles of its intensities, to match those of another case."""

from __future__ import annotations

from typing import Any

import numpy as np

LEVELS = np.array([0.001, 0.01, *np.arange(0.05, 0.951, 0.05), 0.99, 0.999])
"""The quantiles."""

_SLICES = 32
_VOXELS = 200_000


def landmarks_of_case(image: Any, nonzero: Any) -> np.ndarray:
    """Compute the landmarks of all channels of a case.

    Args:
        image: Preprocessed image, (C, X, Y, Z), in memory or on the disk. At most 32 evenly spaced slices of the
            first axis are read.
        nonzero: Nonzero region, (1, X, Y, Z): below 0 outside. All voxels of the slices count if none
            is inside.

    Returns:
        Landmarks, (C, levels).
    """
    slices = sorted({int(x) for x in np.linspace(0, image.shape[1] - 1, _SLICES)})
    inside = np.stack([np.asarray(nonzero[0, x]) for x in slices]) >= 0
    counts = inside if inside.any() else ~inside
    channels = (np.stack([np.asarray(image[c, x]) for x in slices])[counts] for c in range(image.shape[0]))
    return np.stack([landmarks_of(values) for values in channels])


def landmarks_of(values: np.ndarray) -> np.ndarray:
    """Compute the landmarks of some voxels.

    Args:
        values: Intensities, any shape.

    Returns:
        Their quantiles at :data:`LEVELS`; of more than 400,000 voxels, those of every n-th one.
    """
    values = values.reshape(-1)[:: max(1, values.size // _VOXELS)]
    return np.quantile(values.astype(np.float32).astype(np.float64), LEVELS)
