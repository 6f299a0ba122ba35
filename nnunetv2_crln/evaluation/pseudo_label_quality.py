"""Summarise the confidence of pseudo labels, and their quality if the truth is known, by pure functions."""

import numpy as np


def expected_dice(labels: np.ndarray, confidence: np.ndarray, volumes: np.ndarray) -> float:
    """Estimate the Dice of a prediction from its own probabilities, as the mean over the foreground classes.

    If the probabilities were calibrated, their sum over the voxels predicted as a class would be the number of hits,
    and their sum over all voxels the number of existing voxels: Dice is about ``2 * hits / (predicted + existing)``. It
    is low if the prediction is uncertain, and also if it misses voxels that are almost as probable as not.

    Args:
        labels: Most probable class of each voxel, (N,), integers; class 0 is background.
        confidence: Probability of that class, (N,).
        volumes: Sum of the probabilities of each class over the voxels, (C,).

    Returns:
        Expected Dice in [0, 1]. Classes that are neither predicted nor expected in at least one voxel do not count; NaN
        if no class counts.
    """
    predicted = np.bincount(labels, minlength=len(volumes))[1:]
    hits = np.bincount(labels, confidence, minlength=len(volumes))[1:]
    dice = dice_from_sums(hits, predicted, np.asarray(volumes, dtype=float)[1:])
    counts = np.isfinite(dice)
    return float(dice[counts].mean()) if counts.any() else float("nan")


def dice_from_sums(hits: np.ndarray | float, predicted: np.ndarray | int, existing: np.ndarray | float) -> np.ndarray:
    """Estimate the Dice of classes from sums of their probabilities, see :func:`expected_dice`.

    Args:
        hits: Sum of the probabilities of a class over the voxels predicted as it, (C,) or a number.
        predicted: Number of voxels predicted as the class.
        existing: Sum of its probabilities over all voxels.

    Returns:
        Expected Dice in [0, 1], of the arguments' shape; NaN for a class that is neither predicted nor expected in at
        least one voxel.
    """
    counts = (np.asarray(predicted) > 0) | (np.asarray(existing) >= 1)
    return np.where(counts, 2 * np.asarray(hits) / np.where(counts, predicted + existing, 1), np.nan)


def confidence_summary(
    labels: np.ndarray, confidence: np.ndarray, volumes: np.ndarray, threshold: float
) -> dict[str, float]:
    """Summarise the confidence of one pseudo label.

    Args:
        labels: Most probable class of each voxel, (N,), integers; class 0 is background.
        confidence: Probability of that class, (N,).
        volumes: Sum of the probabilities of each class over the voxels, (C,).
        threshold: Confidence below which a voxel is uncertain.

    Returns:
        ``expected_dice``; ``foreground_confidence``, the mean confidence of voxels predicted as foreground (NaN without
        any); ``unsure_share``, the share of voxels below the threshold; ``foreground_share``.
    """
    foreground = labels > 0
    return {
        "expected_dice": expected_dice(labels, confidence, volumes),
        "foreground_confidence": float(confidence[foreground].mean()) if foreground.any() else float("nan"),
        "unsure_share": float((confidence < threshold).mean()),
        "foreground_share": float(foreground.mean()),
    }


def mean_dice(labels: np.ndarray, truth: np.ndarray, num_classes: int) -> float:
    """Compute the mean Dice of the foreground classes.

    Args:
        labels: Predicted class of each voxel, (N,), integers.
        truth: True class of each voxel, (N,), integers below C.
        num_classes: Number of classes including background, C.

    Returns:
        Mean Dice in [0, 1]; classes that occur in neither do not count; NaN if no class counts.
    """
    predicted, true, both = (
        np.bincount(values, minlength=num_classes)[1:] for values in (labels, truth, labels[labels == truth])
    )
    total = predicted + true
    return float((2 * both[total > 0] / total[total > 0]).mean()) if total.any() else float("nan")
