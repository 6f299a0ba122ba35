"""Measure a model's confidence in each structure of one scan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnunetv2_crln.annotation_loop.order_scans import Structure
from nnunetv2_crln.annotation_loop.volume_predictor import VolumePrediction
from nnunetv2_crln.evaluation.pseudo_label_quality import dice_from_sums


def structure_confidences(prediction: VolumePrediction, names: list[str], label_manager: Any) -> dict[str, Structure]:
    """Measure each structure from the model's own probabilities.

    Args:
        prediction: Prediction of the scan.
        names: Names from :func:`~nnunetv2_crln.raw_dataset.classes.foreground_names`.
        label_manager: Label manager of nnU-Net.

    Returns:
        The structures by name.
    """
    probabilities = label_manager.apply_inference_nonlin(prediction.logits)
    found = _structures(probabilities, label_manager.has_regions)
    return {
        name: _structure(probability, mask, prediction.voxel_ml)
        for name, (probability, mask) in zip(names, found, strict=True)
    }


def _structures(probabilities: Tensor, has_regions: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the probability of each foreground class or region, (*grid), and the voxels predicted as it."""
    if has_regions:
        for probability in probabilities:
            yield probability, probability > 0.5
        return
    labels = probabilities.argmax(0)
    for index, probability in enumerate(probabilities[1:], start=1):
        yield probability, labels == index


def _structure(probability: Tensor, mask: Tensor, voxel_ml: float) -> Structure:
    existing, predicted = float(probability.sum(dtype=torch.float64)), int(mask.sum())
    hits = float(probability[mask].sum(dtype=torch.float64))
    return Structure(float(dice_from_sums(hits, predicted, existing)), predicted * voxel_ml)


def voxel_confidence(probabilities: np.ndarray, has_regions: bool) -> np.ndarray:
    """Compute a model's confidence in the label of each voxel.

    Args:
        probabilities: Probabilities of the heads, (heads, *grid).
        has_regions: True if the heads are regions: the least confident of them determines the confidence of a voxel.

    Returns:
        Confidence in [0, 1], (*grid).
    """
    if has_regions:
        return np.maximum(probabilities, 1 - probabilities).min(0)
    return probabilities.max(0)
