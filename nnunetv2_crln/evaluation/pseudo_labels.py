"""Summarise the confidence of pseudo labels, and their quality if the truth is known, by pure functions."""

import numpy as np


def expected_dice(probabilities: np.ndarray, inside: np.ndarray) -> float:
    """Estimate the Dice of a prediction from its own probabilities, as the mean over the foreground classes.

    If the probabilities were calibrated, their sum over the voxels predicted as a class would be the number of hits,
    and their sum over all voxels the number of existing voxels: Dice is about ``2 * hits / (predicted + existing)``. It
    is low if the prediction is uncertain, and also if it misses voxels that are almost as probable as not.

    Args:
        probabilities: Probabilities, (C, *grid); class 0 is background.
        inside: True for voxels that count, (*grid), bool.

    Returns:
        Expected Dice in [0, 1]. Classes that are neither predicted nor expected in at least one voxel do not count; NaN
        if no class counts.
    """
    probabilities = probabilities[:, inside]
    labels = probabilities.argmax(0)
    scores = []
    for index, probability in enumerate(probabilities[1:], start=1):
        predicted = labels == index
        existing = float(probability.sum())
        if predicted.any() or existing >= 1:
            scores.append(2 * float(probability[predicted].sum()) / (float(predicted.sum()) + existing))
    return float(np.mean(scores)) if scores else float("nan")


def confidence_summary(probabilities: np.ndarray, inside: np.ndarray, threshold: float) -> dict[str, float]:
    """Summarise the confidence of one pseudo label.

    Args:
        probabilities: Probabilities, (C, *grid); class 0 is background.
        inside: True for voxels that count, (*grid), bool.
        threshold: Confidence below which a voxel is uncertain.

    Returns:
        ``expected_dice``; ``foreground_confidence``, the mean confidence of voxels predicted as foreground (NaN without
        any); ``unsure_share``, the share of voxels below the threshold; ``foreground_share``.
    """
    confidence = probabilities.max(0)[inside]
    foreground = probabilities.argmax(0)[inside] > 0
    return {
        "expected_dice": expected_dice(probabilities, inside),
        "foreground_confidence": float(confidence[foreground].mean()) if foreground.any() else float("nan"),
        "unsure_share": float((confidence < threshold).mean()),
        "foreground_share": float(foreground.mean()),
    }


def mean_dice(labels: np.ndarray, truth: np.ndarray, num_classes: int, known: np.ndarray) -> float:
    """Compute the mean Dice of the foreground classes.

    Args:
        labels: Predicted classes, (*grid).
        truth: True classes, (*grid).
        num_classes: Number of classes including background, C.
        known: True for voxels that count, (*grid), bool.

    Returns:
        Mean Dice in [0, 1]; classes that occur in neither do not count; NaN if no class counts.
    """
    labels, truth = labels[known], truth[known]
    scores = []
    for index in range(1, num_classes):
        predicted, true = labels == index, truth == index
        total = int(predicted.sum()) + int(true.sum())
        if total:
            scores.append(2 * int((predicted & true).sum()) / total)
    return float(np.mean(scores)) if scores else float("nan")
