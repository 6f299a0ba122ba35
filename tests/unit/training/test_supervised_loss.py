"""nnU-Net's loss, adapted: at one resolution, whatever the trainer's own loss is, and for pseudo labels.

The values on pseudo labels are compared with nnU-Net's in the tests of the objective.
"""

import pytest
import torch
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from torch import nn

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.training.supervised_loss import at_full_resolution, on_pseudo_labels

OUTPUT, TARGET = torch.full((2, 3), 5.0), torch.full((2, 3), 2.0)


class ListLoss(nn.Module):
    """Deep supervision of a trainer's own."""

    def forward(self, outputs, targets):
        return sum(nn.functional.mse_loss(a, b) for a, b in zip(outputs, targets, strict=True))


def test_inside_of_nnunets_deep_supervision():
    loss = DeepSupervisionWrapper(nn.MSELoss(), [1.0, 0.5])
    assert at_full_resolution(loss, deep_supervision=True)(OUTPUT, TARGET) == 9


def test_a_deep_supervision_of_the_trainers_own_still_gets_lists():
    assert at_full_resolution(ListLoss(), deep_supervision=True)(OUTPUT, TARGET) == 9


def test_without_deep_supervision_it_is_the_loss_itself():
    loss = nn.MSELoss()
    assert at_full_resolution(loss, deep_supervision=False) is loss


@pytest.mark.parametrize("regions", [False, True])
def test_a_loss_that_is_not_nnunets_cannot_be_used_on_pseudo_labels(regions):
    with pytest.raises(UserError, match=r"\"pseudo_label_loss\": \"nnunet\" needs nnU-Net's Dice"):
        on_pseudo_labels(torch.nn.CrossEntropyLoss(), regions)
