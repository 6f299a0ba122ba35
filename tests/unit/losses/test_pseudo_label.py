"""nnU-Net's loss on pseudo labels with fractional weights, against sums over voxels.

Weights of 0 and 1 are compared with nnU-Net's own losses in the tests of the objectives.
"""

import pytest
import torch
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch.nn import functional as F

from nnunetv2_crln.losses.pseudo_label import PseudoLabelLoss
from nnunetv2_crln.losses.region_pseudo_label import RegionPseudoLabelLoss

GRID, SMOOTH = (3, 4, 5), 1e-5


def dice(probabilities: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Minus the mean Dice over samples and classes, each voxel counted by its weight."""
    both, predicted, true = (
        (part * weight).flatten(2).sum(2) for part in (probabilities * truth, probabilities, truth)
    )
    return -((2 * both + SMOOTH) / (predicted + true + SMOOTH)).mean()


@pytest.mark.parametrize("regions", [False, True])
def test_a_voxel_counts_in_both_parts_by_its_trust(regions):
    logits = torch.randn(2, 3, *GRID)
    nonlin = torch.sigmoid if regions else lambda values: torch.softmax(values, 1)
    nnunets_dice = MemoryEfficientSoftDiceLoss(nonlin, do_bg=regions, smooth=SMOOTH, ddp=False)
    if regions:
        labels, weight = torch.randint(0, 2, logits.shape), torch.rand(logits.shape)
        truth, parts, first = labels.float(), weight, 0
        single = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    else:
        labels, weight = torch.randint(0, 3, (2, *GRID)), torch.rand(2, *GRID)
        truth, parts, first = F.one_hot(labels, 3).movedim(-1, 1).float(), weight[:, None], 1
        single = F.cross_entropy(logits, labels, reduction="none")
    kind = RegionPseudoLabelLoss if regions else PseudoLabelLoss
    found = kind(nnunets_dice, weight_ce=0.5, weight_dice=2.0)(logits, labels, weight)
    expected = 2 * dice(nonlin(logits)[:, first:], truth[:, first:], parts)
    torch.testing.assert_close(found, expected + 0.5 * (single * weight).sum() / weight.sum())
