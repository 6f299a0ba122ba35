"""Adapt nnU-Net's loss so that it does not wait for the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from torch import Tensor, nn

from nnunetv2_crln.losses.ignore_label import IgnoreLabelLoss


def without_host_sync(loss: nn.Module) -> nn.Module:
    """Replace nnU-Net's loss for targets with an ignore label by one of equal value that does not wait for the device.

    Args:
        loss: Loss of nnU-Net, with or without deep supervision; changed in place.

    Returns:
        The loss to use; the given one if nothing has to be replaced.
    """
    deep = isinstance(loss, DeepSupervisionWrapper)
    nnunet: Any = loss.loss if deep else loss
    if type(nnunet) is not DC_and_CE_loss or nnunet.ignore_label is None or nnunet.ce.weight is not None:
        return loss
    ours = IgnoreLabelLoss(
        nnunet.dc, nnunet.ignore_label, nnunet.weight_ce, nnunet.weight_dice, nnunet.ce.label_smoothing
    )
    if not deep:
        return ours
    loss.loss = ours
    return loss


def at_full_resolution(loss: nn.Module, deep_supervision: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss of one resolution.

    Args:
        loss: Loss of the trainer.
        deep_supervision: It takes a list of outputs and a list of targets, one for each resolution.

    Returns:
        Function of one output and its target.
    """
    if isinstance(loss, DeepSupervisionWrapper):
        return loss.loss
    # A trainer may have a wrapper of its own.
    return (lambda output, target: loss([output], [target])) if deep_supervision else loss
