"""Losses for the consistency between student and pseudo labels (Eq. 1-2)."""

import torch
from torch import Tensor
from torch.nn import functional as F


def consistency_loss(logits: Tensor, pseudo_labels: Tensor, confidence: Tensor, threshold: float) -> Tensor:
    """Compute the negative log-likelihood of the pseudo labels at the confident voxels (Eq. 2).

    Args:
        logits: Student's output for the strong view, before softmax, (B, C, *grid).
        pseudo_labels: Class indices, (B, *grid), int64.
        confidence: Largest probability of the (rectified) teacher, (B, *grid).
        threshold: Confidence threshold tau; voxels below it do not count.

    Returns:
        Scalar: sum over confident voxels divided by the number of all voxels, as the mean over the lattice in Eq. 2.
        Zero, with a gradient of zeros, if no voxel is confident. Gradients reach ``logits`` alone.
    """
    nll = F.cross_entropy(logits, pseudo_labels, reduction="none")
    return (nll * (confidence >= threshold)).mean()


def consistency_dice_loss(logits: Tensor, pseudo_labels: Tensor, confidence: Tensor, threshold: float) -> Tensor:
    """Compute nnU-Net's second loss term, soft Dice, for the foreground pseudo labels at the confident voxels.

    Cross-entropy alone is dominated by background; Dice weights all classes that are present equally. Classes absent
    from the confident pseudo labels of the whole batch do not count.

    Args:
        logits: Student's output for the strong view, before softmax, (B, C, *grid).
        pseudo_labels: Class indices, (B, *grid), int64.
        confidence: Largest probability of the (rectified) teacher, (B, *grid).
        threshold: Confidence threshold tau; voxels below it do not count.

    Returns:
        Scalar in [0, 1], zero if no foreground voxel is confident. Gradients reach ``logits`` alone.
    """
    mask = (confidence >= threshold).unsqueeze(1)
    probs = torch.softmax(logits, 1)[:, 1:] * mask
    classes = torch.arange(1, logits.shape[1], device=logits.device).view(1, -1, *[1] * (logits.ndim - 2))
    target = (pseudo_labels.unsqueeze(1) == classes) & mask
    axes = [0, *range(2, logits.ndim)]
    volume = target.sum(axes)
    dice = (2 * (probs * target).sum(axes) + 1e-5) / (probs.sum(axes) + volume + 1e-5)
    present = volume > 0
    return ((1 - dice) * present).sum() / present.sum().clamp(min=1)
