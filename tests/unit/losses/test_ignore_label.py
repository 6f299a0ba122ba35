"""The same loss as nnU-Net's, with and without labelled voxels."""

import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

from nnunetv2_crln.losses.ignore_label import IgnoreLabelLoss

IGNORE = 3


@pytest.mark.parametrize("batch_dice", [False, True])
@pytest.mark.parametrize("labelled", ["some", "all", "none"])
def test_equals_nnunets_loss_and_gradient(batch_dice, labelled):
    dice_options = {"batch_dice": batch_dice, "smooth": 1e-5, "do_bg": False, "ddp": False}
    nnunet = DC_and_CE_loss(dice_options, {}, ignore_label=IGNORE, dice_class=MemoryEfficientSoftDiceLoss)
    ours = IgnoreLabelLoss(nnunet.dc, IGNORE, nnunet.weight_ce, nnunet.weight_dice)
    target = torch.randint(0, 4, (2, 1, 5, 4, 3), dtype=torch.int16)
    if labelled == "all":
        target[target == IGNORE] = 0
    elif labelled == "none":
        target[:] = IGNORE
    values, gradients = [], []
    logits = torch.randn(2, 3, 5, 4, 3)
    for loss in (nnunet, ours):
        leaf = logits.clone().requires_grad_()
        values.append(loss(leaf, target))
        gradients.append(torch.autograd.grad(values[-1], leaf)[0])
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*gradients)
