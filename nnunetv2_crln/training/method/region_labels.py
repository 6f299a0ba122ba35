"""Make pseudo labels for labels of regions, of which a voxel may lie in several."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nnunetv2_crln.modules.regions import as_two_classes
from nnunetv2_crln.training.method.class_labels import ClassLabels, at_full_resolution
from nnunetv2_crln.training.method.pseudo_labels import PseudoLabels

Regions = Sequence[tuple[int, ...]]
"""Label values of each region, in the order of the network's outputs."""


def label_values(foreground_regions: Sequence[int | Sequence[int]]) -> Regions:
    """Convert the regions of nnU-Net's label manager, tuples and single values, to one form."""
    return [tuple(region) if isinstance(region, Sequence) else (region,) for region in foreground_regions]


class RegionLabels(ClassLabels):
    """Make pseudo labels of K regions, (B, K, *grid): 1 inside, 0 outside.

    Args:
        regions: Label values of each region, K of them.
    """

    are_regions = True

    def __init__(self, regions: Regions) -> None:
        super().__init__(len(regions))
        self.regions = regions

    def of_logits(self, logits: Tensor, trust: Tensor | None = None) -> PseudoLabels:
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

    def of_target(self, target: Tensor | list[Tensor]) -> PseudoLabels:
        """Take nnU-Net's target of regions as pseudo labels.

        Args:
            target: One mask per region, followed by the ignored voxels if there is an ignore label, (L, K or K + 1,
                *grid); or a list with one per resolution, full resolution first.

        Returns:
            Labels (L, K, *grid), with confidence 1 where there is a label and 0 where it is ignored.
        """
        masks, number = at_full_resolution(target), self.num_classes
        known = torch.ones_like(masks[:, :number], dtype=torch.float32)
        if masks.shape[1] > number:
            known = known * (1 - masks[:, number:].float())
        return PseudoLabels(masks[:, :number].long(), known)

    def _as_labels(self, known: Tensor) -> tuple[Tensor, Tensor]:
        """Return each value in all regions that it belongs to, and where values are known."""
        # By comparison with numbers: a tensor of them would be copied from the host in every step.
        inside = [torch.stack([known == value for value in region]).any(0) for region in self.regions]
        return torch.stack(inside, 1), (known >= 0).unsqueeze(1)

    def class_logits(self, logits: Tensor) -> Tensor:
        """Return two logits for each region, (B * K, 2, *grid)."""
        return as_two_classes(logits)
