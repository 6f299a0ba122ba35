"""Loss that treats pseudo labels as nnU-Net treats labels: Dice and cross-entropy over the trusted voxels."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nnunetv2_crln.losses.recomputation import recomputed_if_large


class PseudoLabelLoss(nn.Module):
    """Compute Dice + cross-entropy with a weight for each voxel, at every resolution that nnU-Net supervises.

    With weights of 0 and 1 it equals nnU-Net's loss for a target whose other voxels have the ignore label.

    Args:
        dice: nnU-Net's Dice loss, called with logits (B, C, *grid), labels (B, 1, *grid) and ``loss_mask``.
        weight_ce: Weight of the cross-entropy.
        weight_dice: Weight of the Dice loss.
        resolution_weights: Weight of each output of a network with deep supervision, full resolution first.
    """

    def __init__(
        self,
        dice: Callable[..., Tensor],
        weight_ce: float = 1.0,
        weight_dice: float = 1.0,
        resolution_weights: Sequence[float] = (1.0,),
    ) -> None:
        super().__init__()
        self.dice = dice
        self.weight_ce, self.weight_dice = weight_ce, weight_dice
        self.resolution_weights = tuple(float(weight) for weight in resolution_weights)

    def forward(self, outputs: Tensor | Sequence[Tensor], labels: Tensor, weight: Tensor) -> Tensor:
        """Compute the loss of the student's outputs.

        Args:
            outputs: Logits (B, C, *grid), or a list of them with decreasing resolution.
            labels: Pseudo labels at full resolution, (B, *grid), int64.
            weight: Trust in each voxel, in [0, 1], (B, *grid).

        Returns:
            Scalar. If no voxel is trusted, the cross-entropy and its gradient are 0.
        """
        outputs = [outputs] if isinstance(outputs, Tensor) else outputs
        total = torch.zeros((), device=labels.device)
        for logits, factor in zip(outputs, self.resolution_weights, strict=False):
            if factor:
                size = logits.shape[2:]
                targets = _resized(labels, size), _resized(weight, size)
                total = total + factor * recomputed_if_large(self._at, logits, *targets)
        return total

    def _at(self, logits: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
        summed = (F.cross_entropy(logits, labels, reduction="none") * weight).sum()
        # Less trust in all voxels together than in a single one must not count as much as that one would.
        cross_entropy = summed / weight.sum().clamp(min=1)
        dice = self.dice(logits, labels.unsqueeze(1), loss_mask=weight.unsqueeze(1))
        return self.weight_ce * cross_entropy + self.weight_dice * dice


def _resized(voxels: Tensor, size: Sequence[int]) -> Tensor:
    """Resample voxels to a coarser grid by nearest neighbour, as nnU-Net does with its targets.

    Args:
        voxels: One value per voxel, (B, *grid), or per voxel and region, (B, K, *grid).
        size: Size of the coarser grid.
    """
    if voxels.shape[-len(size) :] == torch.Size(size):
        return voxels
    has_channels = voxels.ndim == len(size) + 2
    channels = voxels if has_channels else voxels.unsqueeze(1)
    coarse = F.interpolate(channels.float(), tuple(size), mode="nearest-exact").to(voxels.dtype)
    return coarse if has_channels else coarse[:, 0]
