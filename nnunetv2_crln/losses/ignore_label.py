"""Supervised loss of nnU-Net for targets with an ignore label, without waiting for the device."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class IgnoreLabelLoss(nn.Module):
    """Compute Dice + cross-entropy over the labelled voxels, with the same value as nnU-Net's ``DC_and_CE_loss``.

    nnU-Net tests on the host whether any voxel is labelled and so waits for the device, at every resolution of a step.

    Args:
        dice: Dice loss, called with logits (B, C, *grid), labels (B, 1, *grid) and ``loss_mask`` (B, 1, *grid).
        ignore_label: Value of the voxels without a label.
        weight_ce: Weight of the cross-entropy.
        weight_dice: Weight of the Dice loss.
        label_smoothing: Label smoothing of the cross-entropy, in [0, 1].
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
        """Compute the loss.

        Args:
            logits: Before softmax, (B, C, *grid).
            target: Labels, (B, 1, *grid); ``ignore_label`` where there is none.

        Returns:
            Scalar; its cross-entropy is 0 if no voxel is labelled. Gradients reach ``logits``.
        """
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
