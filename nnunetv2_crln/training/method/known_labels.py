"""Convert true labels to pseudo labels, and substitute them where an unlabelled patch has some."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from nnunetv2_crln.training.method.pseudo_labels import PseudoLabels
from nnunetv2_crln.training.method.region_labels import Regions, region_target

UNKNOWN = -1
"""Value of a voxel without a true label."""
NOT_ANNOTATED = -2
"""Value of a voxel that is background or of a class that is not annotated in its case."""


def impossible_classes(known: Tensor | None, annotated: Tensor | None) -> Tensor | None:
    """Find the classes that unknown voxels of partly annotated cases cannot have: those that are annotated there.

    Args:
        known: What is known of the unlabelled patches, (B, *grid), as ``JoinedCases`` says it.
        annotated: Classes that are annotated in the case of each patch, (B, C); None without such cases.

    Returns:
        True for each class that a voxel cannot have, (B, C, *grid); None if there is none. Background is possible
        everywhere.
    """
    if known is None or annotated is None:
        return None
    return (known == NOT_ANNOTATED).unsqueeze(1) & annotated.view(*annotated.shape, *[1] * (known.ndim - 1))


def exclude_classes(logits: Tensor, impossible: Tensor | None) -> Tensor:
    """Exclude classes: the others share the whole probability.

    Args:
        logits: Before softmax, (B, C, *grid).
        impossible: True for classes to exclude, (B, C, *grid); None excludes none.

    Returns:
        The logits, minus infinity for what is excluded.
    """
    return logits if impossible is None else logits.float().masked_fill(impossible, -torch.inf)


def true_labels(target: Tensor | list[Tensor], num_classes: int, regions: Regions | None = None) -> PseudoLabels:
    """Take the labels of the labelled patches as pseudo labels, for voxels that are copied from these patches.

    Args:
        target: Target of nnU-Net, (L, 1, *grid), or one mask per region; or a list, full resolution first.
        num_classes: Number of classes, or of regions.
        regions: Label values of each region, for labels of regions.

    Returns:
        Labels with confidence 1, or 0 where they are ignored, (L, *grid), or (L, K, *grid) for K regions.
    """
    labels = target[0] if isinstance(target, list) else target
    return PseudoLabels.from_target(labels, num_classes) if regions is None else region_target(labels, num_classes)


def with_known_labels(pseudo: PseudoLabels, known: Tensor | None, regions: Regions | None = None) -> PseudoLabels:
    """Replace pseudo labels by true labels, with full confidence.

    Args:
        pseudo: Pseudo labels of the teacher, (B, *grid), or (B, K, *grid) for K regions.
        known: True labels in the same geometry, (B, *grid), negative where there are none; None if nothing is known.
        regions: Label values of each region, for pseudo labels of regions.

    Returns:
        The pseudo labels of the teacher where nothing is known, the true labels elsewhere.
    """
    if known is None:
        return pseudo
    is_known = known >= 0
    if regions is not None:
        is_known = is_known.unsqueeze(1)
        # By comparison with numbers: a tensor of them would be copied from the host in every step.
        inside = [torch.stack([known == value for value in region]).any(0) for region in regions]
        known = torch.stack(inside, 1)

    def certain(weights: Tensor) -> Tensor:
        return torch.where(is_known, torch.ones_like(weights), weights)

    return replace(
        pseudo,
        labels=torch.where(is_known, known.to(pseudo.labels.dtype), pseudo.labels),
        confidence=certain(pseudo.confidence),
        trust=None if pseudo.trust is None else certain(pseudo.trust),
    )
