"""How sure a model is of a pseudo label, and how good the label is where the truth is known: pure functions."""

import numpy as np


def expected_dice(probabilities: np.ndarray, inside: np.ndarray) -> float:
    """The Dice a model expects of its own prediction: mean over the foreground classes.

    If the probabilities were right, the sum of p over the voxels predicted as a class would be the number of hits, and
    the sum over all voxels the number that exist: Dice is about ``2 * hits / (predicted + existing)``. It is low where
    the prediction is unsure, and also where it leaves out voxels that it half believes in.

    Args:
        probabilities: (C, *grid), class 0 is background.
        inside: Voxels that count, (*grid), bool.

    Returns:
        In [0, 1]; classes of which less than one voxel is expected do not count; NaN if that is all of them.
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
    """What a reader needs to judge one pseudo label.

    Args:
        probabilities: (C, *grid), class 0 is background.
        inside: Voxels that count, (*grid), bool.
        threshold: Confidence below which a voxel is unsure.

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
    """Mean Dice of the foreground classes.

    Args:
        labels: Predicted classes.
        truth: True classes, same shape.
        num_classes: Background included.
        known: Voxels that count, same shape, bool.

    Returns:
        In [0, 1]; classes in neither do not count; NaN if that is all of them.
    """
    labels, truth = labels[known], truth[known]
    scores = []
    for index in range(1, num_classes):
        predicted, true = labels == index, truth == index
        total = int(predicted.sum()) + int(true.sum())
        if total:
            scores.append(2 * int((predicted & true).sum()) / total)
    return float(np.mean(scores)) if scores else float("nan")
