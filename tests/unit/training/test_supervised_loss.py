"""nnU-Net's loss for pseudo labels; its values are compared with nnU-Net's in the tests of the objective."""

import pytest
import torch

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.training.supervised_loss import on_pseudo_labels


@pytest.mark.parametrize("regions", [False, True])
def test_a_loss_that_is_not_nnunets_cannot_be_used_on_pseudo_labels(regions):
    with pytest.raises(UserError, match=r"\"pseudo_label_loss\": \"nnunet\" needs nnU-Net's Dice"):
        on_pseudo_labels(torch.nn.CrossEntropyLoss(), regions)
