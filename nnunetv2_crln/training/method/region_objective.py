"""Compute the losses for region-based labels: every region is a problem of two classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.losses.consistency import consistency_loss
from nnunetv2_crln.losses.pseudo_label import PseudoLabelLoss
from nnunetv2_crln.losses.recomputation import recomputed_if_large
from nnunetv2_crln.modules.regions import as_two_classes
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.method.objective import Contrast, Objective, StudentPass
from nnunetv2_crln.training.method.pseudo_labels import PseudoLabels
from nnunetv2_crln.training.method.region_labels import RegionLabels, Regions


class RegionObjective(Objective):
    """Compute the total loss of Eq. 15 for regions. Logits, maps, labels and weights are (B, K, *grid) for K regions.

    Args:
        settings: Hyper-parameters.
        supervised: nnU-Net's loss for the outputs of the network and their targets.
        full_resolution: nnU-Net's loss without deep supervision, for the relationship map M.
        regions: Label values of each region, K of them.
        pseudo_label_loss: Loss for ``"pseudo_label_loss": "nnunet"``.

    Raises:
        UserError: The settings ask for a threshold per class, but a voxel has no single class.
    """

    def __init__(
        self,
        settings: CRLNSettings,
        supervised: Callable[..., Tensor],
        full_resolution: Callable[[Tensor, Tensor], Tensor],
        regions: Regions,
        pseudo_label_loss: PseudoLabelLoss | None = None,
    ) -> None:
        if settings.class_thresholds is True:
            raise UserError(
                '"crln" block of the plans: "class_thresholds": true needs classes, but the labels of dataset.json are '
                'regions. Remove the key, or set it to "auto".'
            )
        settings = replace(settings, class_thresholds=False)
        super().__init__(settings, supervised, full_resolution, RegionLabels(regions), pseudo_label_loss)

    def _cross_entropy(self, logits: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
        return recomputed_if_large(_two_class_consistency, logits, labels, weight)

    def _contrasts(self, student: StudentPass, labels: Tensor, pseudo: PseudoLabels) -> list[Contrast]:
        """List the problems of CPS: inside against outside of each region."""
        s = self.settings
        true = self.labels.of_target(labels)
        sure = pseudo.weight(s.cps_confidence) == 1
        problems = []
        for region in range(self.labels.num_classes):
            of_labelled, of_unlabelled = true.labels[:, region], pseudo.labels[:, region]
            own = [
                _probability_of_side(student.labelled_logits[:, region], of_labelled),
                _probability_of_side(student.unlabelled_logits[:, region], of_unlabelled),
            ]
            valid = [true.confidence[:, region] > 0, sure[:, region]]
            all_labels = torch.cat([of_labelled, of_unlabelled])
            problems.append(Contrast(all_labels, torch.cat(valid), torch.cat(own) < s.anchor_uncertainty, 2))
        return problems


def _two_class_consistency(logits: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    return consistency_loss(as_two_classes(logits), labels.flatten(0, 1), weight.flatten(0, 1))


def _probability_of_side(logit: Tensor, inside: Tensor) -> Tensor:
    """Return the probability that a voxel lies on the side of a region that its label (1: inside) says."""
    probability = torch.sigmoid(logit.float())
    return torch.where(inside == 1, probability, 1 - probability)
