"""Adapt nnU-Net's loss: without waiting for the device, at full resolution alone, and for pseudo labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.robust_ce_loss import RobustCrossEntropyLoss
from torch import Tensor, nn

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.losses.ignore_label import IgnoreLabelLoss
from nnunetv2_crln.losses.pseudo_label import PseudoLabelLoss
from nnunetv2_crln.losses.region_pseudo_label import RegionPseudoLabelLoss


def _inside_deep_supervision(loss: nn.Module) -> Any:
    """Return the loss of one resolution inside nnU-Net's deep supervision; the given loss if there is none."""
    return loss.loss if isinstance(loss, DeepSupervisionWrapper) else loss


def _is_plain(cross_entropy: Any) -> bool:
    """Return True for nnU-Net's cross-entropy over all voxels, without weights of classes."""
    return (
        type(cross_entropy) is RobustCrossEntropyLoss
        and cross_entropy.weight is None
        and cross_entropy.reduction == "mean"
    )


def replace_waiting_loss(loss: nn.Module) -> nn.Module:
    """Replace nnU-Net's loss for targets with an ignore label by one of equal value that does not wait for the device.

    Args:
        loss: Loss of nnU-Net, with or without deep supervision; changed in place.

    Returns:
        The loss to use; the given one if nothing has to be replaced.
    """
    nnunet = _inside_deep_supervision(loss)
    if type(nnunet) is not DC_and_CE_loss or nnunet.ignore_label is None:
        return loss
    if not _is_plain(nnunet.ce) or nnunet.ce.ignore_index != nnunet.ignore_label:
        return loss
    ours = IgnoreLabelLoss(
        nnunet.dc, nnunet.ignore_label, nnunet.weight_ce, nnunet.weight_dice, nnunet.ce.label_smoothing
    )
    if nnunet is loss:
        return ours
    loss.loss = ours
    return loss


def full_resolution_loss(loss: nn.Module, deep_supervision: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss of one resolution.

    Args:
        loss: Loss of the trainer.
        deep_supervision: It takes a list of outputs and a list of targets, one for each resolution.

    Returns:
        Function of one output and its target.
    """
    nnunet = _inside_deep_supervision(loss)
    if nnunet is not loss:
        return nnunet
    # A trainer may have a wrapper of its own.
    return (lambda output, target: loss([output], [target])) if deep_supervision else loss


def _has_known_parts(loss: Any, regions: bool) -> bool:
    """Return True for a loss whose cross-entropy is the one that the loss for pseudo labels computes."""
    if regions:
        plain = type(loss) is DC_and_BCE_loss and type(loss.ce) is nn.BCEWithLogitsLoss
        return plain and loss.ce.weight is None and loss.ce.pos_weight is None
    if type(loss) is IgnoreLabelLoss:
        return not loss.label_smoothing
    return type(loss) is DC_and_CE_loss and _is_plain(loss.ce) and not loss.ce.label_smoothing


def build_pseudo_label_loss(loss: nn.Module, regions: bool, setting: str) -> PseudoLabelLoss | None:
    """Build the loss for pseudo labels with the parts and weights of nnU-Net's loss for the labelled patches.

    Args:
        loss: Loss of nnU-Net, with or without deep supervision.
        regions: True if the labels are regions.
        setting: Value of ``pseudo_label_loss``. ``"auto"`` stands for ``"nnunet"`` with nnU-Net's own loss, and for
            ``"cross_entropy"`` with any other.

    Returns:
        The loss; None for cross-entropy alone (Eq. 2).

    Raises:
        UserError: The setting is ``"nnunet"``, but the trainer's loss is not nnU-Net's Dice + plain cross-entropy.
    """
    nnunet = _inside_deep_supervision(loss)
    known = _has_known_parts(nnunet, regions)
    if setting == "cross_entropy" or (setting == "auto" and not known):
        return None
    if not known:
        parts = f" with {nnunet.ce}" if hasattr(nnunet, "ce") else ""
        raise UserError(
            f'"crln" block: "pseudo_label_loss": "nnunet" needs nnU-Net\'s Dice + cross-entropy loss without class '
            f"weights and label smoothing, found {type(nnunet).__name__}{parts}. "
            'Set "pseudo_label_loss": "cross_entropy" for this trainer.'
        )
    dice = nnunet.dice if isinstance(nnunet, IgnoreLabelLoss) else nnunet.dc
    # nnU-Net compiles its Dice; masks of pseudo labels would need further graphs of it, of which torch allows eight.
    dice = getattr(dice, "_orig_mod", dice)
    weights: Any = getattr(loss, "weight_factors", (1.0,))
    if not regions:
        return PseudoLabelLoss(dice, nnunet.weight_ce, nnunet.weight_dice, weights)
    # With an ignore label, nnU-Net divides the sum over all regions by the number of voxels alone.
    return RegionPseudoLabelLoss(
        dice, nnunet.weight_ce, nnunet.weight_dice, weights, sum_over_regions=nnunet.use_ignore_label
    )
