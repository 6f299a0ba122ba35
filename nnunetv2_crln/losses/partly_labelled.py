"""nnU-Net's supervised loss for targets with an ignore label, without reading anything on the host."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PartlyLabelledLoss(nn.Module):
    """Dice + cross-entropy over the labelled voxels, the same value as nnU-Net's ``DC_and_CE_loss``.

    nnU-Net asks on the host whether any voxel is labelled and so waits for the device, at every resolution of a step.

    Args:
        dice: Called with logits, labels and ``loss_mask``.
        ignore_label: Value of the voxels without a label.
        weight_ce: Of the cross-entropy.
        weight_dice: Of the Dice loss.
        label_smoothing: Of the cross-entropy.
    """

    def __init__(
        self,
        dice: Callable[..., Tensor],
        ignore_label: int,
        weight_ce: float = 1,
        weight_dice: float = 1,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.dice = dice
        self.ignore_label = ignore_label
        self.weight_ce, self.weight_dice = weight_ce, weight_dice
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (B, C, *grid) and labels (B, 1, *grid) to a scalar; the cross-entropy is 0 if no voxel is labelled."""
        labelled = target != self.ignore_label
        dice = self.dice(logits, torch.where(labelled, target, 0), loss_mask=labelled)
        summed = F.cross_entropy(
            logits,
            target[:, 0].long(),
            ignore_index=self.ignore_label,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )
        return self.weight_ce * summed / labelled.sum().clamp(min=1) + self.weight_dice * dice
