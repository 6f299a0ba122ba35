"""nnU-Net's loss, adapted: at one resolution, whatever the trainer's own loss is, and for pseudo labels.

The values on pseudo labels are compared with nnU-Net's in the tests of the objective.
"""

import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss, DC_and_topk_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from nnunetv2.training.loss.robust_ce_loss import RobustCrossEntropyLoss, TopKLoss
from torch import nn

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.losses.ignore_label import IgnoreLabelLoss
from nnunetv2_crln.training.supervised_loss import build_pseudo_label_loss, full_resolution_loss, replace_waiting_loss

OUTPUT, TARGET = torch.full((2, 3), 5.0), torch.full((2, 3), 2.0)


class ListLoss(nn.Module):
    """Deep supervision of a trainer's own."""

    def forward(self, outputs, targets):
        return sum(nn.functional.mse_loss(a, b) for a, b in zip(outputs, targets, strict=True))


def test_inside_of_nnunets_deep_supervision():
    loss = DeepSupervisionWrapper(nn.MSELoss(), [1.0, 0.5])
    assert full_resolution_loss(loss, deep_supervision=True)(OUTPUT, TARGET) == 9


def test_a_deep_supervision_of_the_trainers_own_still_gets_lists():
    assert full_resolution_loss(ListLoss(), deep_supervision=True)(OUTPUT, TARGET) == 9


def test_without_deep_supervision_it_is_the_loss_itself():
    loss = nn.MSELoss()
    assert full_resolution_loss(loss, deep_supervision=False) is loss


@pytest.mark.parametrize("regions", [False, True])
def test_a_loss_that_is_not_nnunets_cannot_be_used_on_pseudo_labels(regions):
    with pytest.raises(UserError, match=r"\"pseudo_label_loss\": \"nnunet\" needs nnU-Net's Dice"):
        build_pseudo_label_loss(torch.nn.CrossEntropyLoss(), regions, "nnunet")


IGNORE = 3


def dice_and_cross_entropy(cross_entropy=None, **options) -> DC_and_CE_loss:
    loss = DC_and_CE_loss(
        {"batch_dice": True, "smooth": 1e-5, "do_bg": False, "ddp": False},
        options,
        ignore_label=IGNORE,
        dice_class=MemoryEfficientSoftDiceLoss,
    )
    loss.ce = loss.ce if cross_entropy is None else cross_entropy
    return loss


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_nnunets_loss_with_an_ignore_label_is_replaced_by_one_of_equal_value(smoothing):
    nnunet = dice_and_cross_entropy(label_smoothing=smoothing)
    ours = replace_waiting_loss(nnunet)
    logits, target = torch.randn(2, 3, 4, 4), torch.randint(0, IGNORE + 1, (2, 1, 4, 4))
    assert isinstance(ours, IgnoreLabelLoss)
    torch.testing.assert_close(ours(logits, target), nnunet(logits, target))


@pytest.mark.parametrize(
    "cross_entropy",
    [
        TopKLoss(ignore_index=IGNORE),
        RobustCrossEntropyLoss(weight=torch.ones(3), ignore_index=IGNORE),
        RobustCrossEntropyLoss(reduction="sum", ignore_index=IGNORE),
        RobustCrossEntropyLoss(),  # would read the ignored voxels
    ],
    ids=["top-k", "weights", "sum", "no ignore label"],
)
def test_a_loss_that_a_derived_trainer_has_changed_stays(cross_entropy):
    loss = dice_and_cross_entropy(cross_entropy)
    assert replace_waiting_loss(loss) is loss


DICE = {"batch_dice": True, "smooth": 1e-5, "do_bg": False, "ddp": False}


@pytest.mark.parametrize(
    ("loss", "regions"),
    [
        (DC_and_topk_loss(dict(DICE), {}), False),
        (DC_and_CE_loss(dict(DICE), {"weight": torch.ones(3)}), False),
        (DC_and_CE_loss(dict(DICE), {"label_smoothing": 0.1}), False),
        (dice_and_cross_entropy(TopKLoss(ignore_index=IGNORE)), False),
        (replace_waiting_loss(dice_and_cross_entropy(label_smoothing=0.1)), False),
        (DC_and_CE_loss(dict(DICE), {}), True),
        (DC_and_BCE_loss({}, dict(DICE)), False),
        (DC_and_BCE_loss({"pos_weight": torch.ones(3, 1, 1)}, dict(DICE)), True),
    ],
)
@pytest.mark.parametrize("deep_supervision", [False, True])
def test_what_pseudo_labels_would_lose_is_refused(loss, regions, deep_supervision):
    """Their loss has plain cross-entropy, whatever the trainer's has for the labelled patches."""
    whole = DeepSupervisionWrapper(loss, [1.0]) if deep_supervision else loss
    with pytest.raises(UserError, match=rf"without class weights and label smoothing, found {type(loss).__name__}"):
        build_pseudo_label_loss(whole, regions, "nnunet")
    assert build_pseudo_label_loss(whole, regions, "auto") is None


@pytest.mark.parametrize(
    ("loss", "regions"),
    [
        (DC_and_CE_loss(dict(DICE), {}), False),
        (dice_and_cross_entropy(), False),
        (replace_waiting_loss(dice_and_cross_entropy()), False),
        (DC_and_BCE_loss({}, dict(DICE)), True),
        (DC_and_BCE_loss({}, dict(DICE), use_ignore_label=True), True),
    ],
)
def test_nnunets_own_losses_are_accepted(loss, regions):
    whole = DeepSupervisionWrapper(loss, [1.0, 0.5])
    for setting in ("auto", "nnunet"):
        assert build_pseudo_label_loss(whole, regions, setting).resolution_weights == (1.0, 0.5)
    assert build_pseudo_label_loss(whole, regions, "cross_entropy") is None


@pytest.mark.parametrize("ignoring", [False, True])
@pytest.mark.parametrize("regions", [1, 3])
def test_pseudo_labels_of_regions_weigh_what_equal_labels_weigh(regions, ignoring):
    loss = DC_and_BCE_loss({}, dict(DICE, do_bg=True), use_ignore_label=ignoring)
    logits = torch.randn(2, regions, 4, 4)
    labels, trusted = torch.randint(0, 2, (2, regions, 4, 4)), torch.ones(2, 1, 4, 4)
    target = labels
    if ignoring:
        trusted = torch.randint(0, 2, (2, 1, 4, 4)).float()
        target = torch.cat([labels, 1 - trusted.long()], 1)
    ours = build_pseudo_label_loss(loss, regions=True, setting="auto")
    expected = loss(logits, target.float())
    torch.testing.assert_close(ours(logits, labels, trusted.expand(labels.shape)), expected)


@pytest.mark.parametrize("adapted", [lambda loss: loss, replace_waiting_loss], ids=["nnU-Net's", "without waiting"])
def test_both_parts_keep_the_weights_of_the_trainer(adapted):
    loss = dice_and_cross_entropy()
    loss.weight_ce, loss.weight_dice = 0.5, 2.0
    ours = build_pseudo_label_loss(adapted(loss), regions=False, setting="auto")
    assert (ours.weight_ce, ours.weight_dice) == (0.5, 2.0)
