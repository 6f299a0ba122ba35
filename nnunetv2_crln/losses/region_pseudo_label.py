"""Loss of nnU-Net for regions, on pseudo labels: Dice and binary cross-entropy over the trusted voxels."""

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from nnunetv2_crln.losses.pseudo_label import PseudoLabelLoss


class RegionPseudoLabelLoss(PseudoLabelLoss):
    """Compute Dice + binary cross-entropy per region; logits, labels and weights are (B, K, *grid) for K regions.

    Arguments and result are those of :class:`PseudoLabelLoss`, with one more argument.

    Args:
        sum_over_regions: Sum the cross-entropy over the regions of a voxel instead of averaging it, as nnU-Net's loss
            does for labels with an ignore label.
    """

    def __init__(self, *arguments: Any, sum_over_regions: bool = False, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.sum_over_regions = sum_over_regions

    def _at(self, logits: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
        target = labels.to(logits.dtype)
        summed = (F.binary_cross_entropy_with_logits(logits, target, reduction="none") * weight).sum()
        cross_entropy = summed / weight.sum().clamp(min=1)  # see PseudoLabelLoss
        if self.sum_over_regions:
            cross_entropy = cross_entropy * weight.shape[1]
        return self.weight_ce * cross_entropy + self.weight_dice * self.dice(logits, target, loss_mask=weight)
