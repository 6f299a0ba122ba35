"""Label voxels as inside or outside of each region, for region-based labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nnunetv2_crln.modules.regions import as_two_classes
from nnunetv2_crln.training.method.pseudo_labels import PseudoLabels

Regions = Sequence[tuple[int, ...]]
"""Label values of each region, in the order of the network's outputs."""


def label_values(foreground_regions: Sequence[int | Sequence[int]]) -> Regions:
    """Convert the regions of nnU-Net's label manager, tuples and single values, to one form."""
    return [tuple(region) if isinstance(region, Sequence) else (region,) for region in foreground_regions]


def region_pseudo_labels(logits: Tensor, trust: Tensor | None = None) -> PseudoLabels:
    """Label each voxel as inside or outside of each region.

    Args:
        logits: One logit per region, (B, K, *grid).
        trust: Weight of each voxel and region, (B, K, *grid); None: 1.

    Returns:
        Labels 0 or 1 and their probability, (B, K, *grid) each.
    """
    pseudo = PseudoLabels.from_logits(as_two_classes(logits))
    shape = logits.shape[:2]
    return PseudoLabels(pseudo.labels.unflatten(0, shape), pseudo.confidence.unflatten(0, shape), trust)


def region_target(target: Tensor, num_regions: int) -> PseudoLabels:
    """Take nnU-Net's target of regions as pseudo labels.

    Args:
        target: One mask per region, followed by the ignored voxels if there is an ignore label, (L, K or K + 1, *grid).
        num_regions: Number of regions, K.

    Returns:
        Labels (L, K, *grid), with confidence 1 where there is a label and 0 where it is ignored.
    """
    known = torch.ones_like(target[:, :num_regions], dtype=torch.float32)
    if target.shape[1] > num_regions:
        known = known * (1 - target[:, num_regions:].float())
    return PseudoLabels(target[:, :num_regions].long(), known)
