"""Compute pseudo labels and losses for region-based labels: every region is a problem of two classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.losses.consistency import consistency_loss
from nnunetv2_crln.losses.cooperative_positive_supervision import cooperative_positive_supervision
from nnunetv2_crln.losses.pseudo_label import PseudoLabelLoss
from nnunetv2_crln.modules.regions import as_two_classes
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.heads import Heads
from nnunetv2_crln.training.objective import Objective, PseudoLabels, StudentPass
from nnunetv2_crln.training.phases import Phase

Regions = Sequence[tuple[int, ...]]
"""Label values of each region, in the order of the network's outputs."""


def label_values(foreground_regions: Sequence[int | Sequence[int]]) -> Regions:
    """Convert the regions of nnU-Net's label manager, tuples and single values, to one form."""
    return [tuple(region) if isinstance(region, Sequence) else (region,) for region in foreground_regions]


def region_pseudo_labels(logits: Tensor, trust: Tensor | None = None) -> PseudoLabels:
    """Label each voxel as inside or outside of each region.

    Args:
        logits: One logit per region, (B, K, *grid).
        trust: Weight of each voxel and region, (B, K, *grid); None: 1.

    Returns:
        Labels 0 or 1 and their probability, (B, K, *grid) each.
    """
    pseudo = PseudoLabels.from_logits(as_two_classes(logits))
    shape = logits.shape[:2]
    return PseudoLabels(pseudo.labels.unflatten(0, shape), pseudo.confidence.unflatten(0, shape), trust)


def region_target(target: Tensor, num_regions: int) -> PseudoLabels:
    """Take nnU-Net's target of regions as pseudo labels.

    Args:
        target: One mask per region, followed by the ignored voxels if there is an ignore label, (L, K or K + 1, *grid).
        num_regions: Number of regions, K.

    Returns:
        Labels (L, K, *grid), with confidence 1 where there is a label and 0 where it is ignored.
    """
    known = torch.ones_like(target[:, :num_regions], dtype=torch.float32)
    if target.shape[1] > num_regions:
        known = known * (1 - target[:, num_regions:].float())
    return PseudoLabels(target[:, :num_regions].long(), known, torch.ones_like(known))


class RegionObjective(Objective):
    """Compute the total loss of Eq. 15 for regions. Logits, maps, labels and weights are (B, K, *grid) for K regions.

    Args:
        settings: Hyper-parameters.
        supervised: nnU-Net's loss for the outputs of the network and their targets.
        full_resolution: nnU-Net's loss without deep supervision, for the relationship map M.
        num_regions: Number of regions, K.
        pseudo_label_loss: Loss for ``"pseudo_label_loss": "nnunet"``.

    Raises:
        UserError: The settings ask for a threshold per class, but a voxel has no single class.
    """

    def __init__(
        self,
        settings: CRLNSettings,
        supervised: Callable[..., Tensor],
        full_resolution: Callable[[Tensor, Tensor], Tensor],
        num_regions: int,
        pseudo_label_loss: PseudoLabelLoss | None = None,
    ) -> None:
        if settings.class_thresholds is True:
            raise UserError(
                '"crln" block of the plans: "class_thresholds": true needs classes, but the labels of dataset.json are '
                'regions. Remove the key, or set it to "auto".'
            )
        settings = replace(settings, class_thresholds=False)
        super().__init__(settings, supervised, full_resolution, num_regions, pseudo_label_loss)

    def _cross_entropy(self, logits: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
        return consistency_loss(as_two_classes(logits.float()), labels.flatten(0, 1), weight.flatten(0, 1))

    def _cps(
        self,
        student: StudentPass,
        heads: Heads,
        representation: nn.Module,
        labels: Tensor,
        pseudo: PseudoLabels,
        phase: Phase,
    ) -> Tensor:
        """Contrast inside and outside of each region; the mean over the regions."""
        s = self.settings
        with torch.no_grad():
            true = region_target(labels, self.num_classes)
            all_labels = torch.cat([true.labels, pseudo.labels])
            valid = torch.cat([true.confidence > 0, pseudo.weight(s.cps_confidence) == 1])
            inside = torch.sigmoid(torch.cat([student.labelled_logits, student.unlabelled_logits]).float())
            own = torch.where(all_labels == 1, inside, 1 - inside)
            uncertain = own < s.anchor_uncertainty
        use_prototypes = heads.dim is not None and phase.rectifying and s.cps_positive != "mean"
        prototypes = heads.dim.prototypes.unflatten(0, (-1, 2)) if use_prototypes else None  # type: ignore[union-attr]
        with torch.autocast(labels.device.type, enabled=False):
            features = student.features.full.float()
            terms = [
                cooperative_positive_supervision(
                    lambda voxels: representation(features, voxels),
                    all_labels[:, region].flatten(),
                    valid[:, region].flatten(),
                    uncertain[:, region].flatten(),
                    2,
                    None if prototypes is None else prototypes[region],
                    # A large weight approaches "prototype" alone.
                    1e6 if s.cps_positive == "prototype" else s.prototype_weight,
                    s.num_anchors,
                    s.num_negatives,
                    s.cps_temperature,
                )
                for region in range(self.num_classes)
            ]
        return torch.stack(terms).mean()
