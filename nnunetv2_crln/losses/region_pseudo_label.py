"""Loss of nnU-Net for regions, on pseudo labels: Dice and binary cross-entropy over the trusted voxels."""

from torch import Tensor
from torch.nn import functional as F

from nnunetv2_crln.losses.pseudo_label import PseudoLabelLoss


class RegionPseudoLabelLoss(PseudoLabelLoss):
    """Compute Dice + binary cross-entropy per region; logits, labels and weights are (B, K, *grid) for K regions.

    Arguments and result are those of :class:`PseudoLabelLoss`.
    """

    def _at(self, logits: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
        target = labels.to(logits.dtype)
        summed = (F.binary_cross_entropy_with_logits(logits, target, reduction="none") * weight).sum()
        # A few trusted voxels of a large patch must not count as much as all of them would.
        cross_entropy = summed / weight.sum().clamp(min=1)
        return self.weight_ce * cross_entropy + self.weight_dice * self.dice(logits, target, loss_mask=weight)
