"""Compute the pseudo labels and losses of one step (Eq. 1-2, 8, 15) without knowledge of the trainer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nnunetv2_crln.losses.consistency import consistency_dice_loss, consistency_loss
from nnunetv2_crln.losses.cooperative_positive_supervision import cooperative_positive_supervision
from nnunetv2_crln.modules.feature_taps import DecoderFeatures
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.dataloading.views import StrongGeometry
from nnunetv2_crln.training.heads import Heads
from nnunetv2_crln.training.phases import Phase


@dataclass(frozen=True)
class PseudoLabels:
    """Labels that the teacher assigns to the unlabelled patches.

    Attributes:
        labels: Class indices, (B, *grid), int64.
        confidence: Largest probability, (B, *grid).
    """

    labels: Tensor
    confidence: Tensor

    @classmethod
    def from_logits(cls, logits: Tensor) -> "PseudoLabels":
        """Take the most probable class of logits (B, C, *grid), and its probability."""
        confidence, labels = torch.softmax(logits.float(), 1).max(1)
        return cls(labels, confidence)

    def warped_by(self, geometry: StrongGeometry) -> "PseudoLabels":
        """Return the pseudo labels in the geometry of the strong view."""
        return PseudoLabels(geometry.apply(self.labels), geometry.apply(self.confidence))


@dataclass
class StudentPass:
    """Outputs of one student forward pass over labelled and unlabelled patches together.

    Attributes:
        labelled_outputs: Input of nnU-Net's loss: logits (L, C, *grid), or with deep supervision a list of them.
        labelled_logits: Logits of the labelled patches at full resolution, (L, C, *grid).
        unlabelled_logits: Logits of the unlabelled patches at full resolution, (U, C, *grid).
        features: Decoder features of all L + U patches.
    """

    labelled_outputs: Tensor | list[Tensor]
    labelled_logits: Tensor
    unlabelled_logits: Tensor
    features: DecoderFeatures

    @classmethod
    def split(cls, outputs: Tensor | Sequence[Tensor], features: DecoderFeatures, num_labelled: int) -> "StudentPass":
        """Split the outputs for a batch into those of labelled and of unlabelled patches.

        Args:
            outputs: Logits (L + U, C, *grid), or with deep supervision a list of them, full resolution first.
            features: Decoder features of all L + U patches.
            num_labelled: Number of labelled patches, L, which come first.

        Returns:
            The outputs by kind of patch.
        """
        if isinstance(outputs, Tensor):
            return cls(outputs[:num_labelled], outputs[:num_labelled], outputs[num_labelled:], features)
        full = outputs[0]
        return cls([o[:num_labelled] for o in outputs], full[:num_labelled], full[num_labelled:], features)


class Objective:
    """Compute the total loss of Eq. 15.

    Args:
        settings: Weights and thresholds.
        supervised: nnU-Net's loss, called with ``labelled_outputs`` and their target.
        full_resolution: nnU-Net's loss without deep supervision, for the relationship map M.
        num_classes: Number of classes including background, C.
    """

    def __init__(
        self,
        settings: CRLNSettings,
        supervised: Callable[..., Tensor],
        full_resolution: Callable[[Tensor, Tensor], Tensor],
        num_classes: int,
    ) -> None:
        self.settings = settings
        self.supervised = supervised
        self.full_resolution = full_resolution
        self.num_classes = num_classes

    def __call__(
        self,
        student: StudentPass,
        relationship_map: Tensor | None,
        heads: Heads,
        target: Tensor | list[Tensor],
        pseudo: PseudoLabels,
        phase: Phase,
    ) -> dict[str, Tensor]:
        """Compute all loss terms.

        Args:
            student: Outputs of the student.
            relationship_map: Relationship map M of the labelled patches, (L, C, *grid), or None without a dynamic
                interaction module.
            heads: Heads of the student.
            target: Labels of the labelled patches, (L, 1, *grid), or a list of them with deep supervision.
            pseudo: Pseudo labels in the geometry of the strong view.
            phase: Training phase of the step.

        Returns:
            Unweighted terms by name, and their weighted sum as ``"loss"``; scalar tensors.
        """
        s = self.settings
        terms: dict[str, Tensor] = {"supervised": self.supervised(student.labelled_outputs, target)}
        labels = target[0] if isinstance(target, list) else target
        logits = student.unlabelled_logits.float()
        terms["consistency"] = consistency_loss(logits, pseudo.labels, pseudo.confidence, s.confidence_threshold)
        weights = {"supervised": 1.0, "consistency": phase.ramp * s.consistency_weight}
        if s.consistency_dice_weight:
            terms["consistency_dice"] = consistency_dice_loss(
                logits, pseudo.labels, pseudo.confidence, s.confidence_threshold
            )
            weights["consistency_dice"] = phase.ramp * s.consistency_dice_weight
        if relationship_map is not None:
            terms["relationship_map"] = self.full_resolution(relationship_map, labels)
            weights["relationship_map"] = s.relationship_map_weight
        if heads.representation is not None:
            terms["cps"] = self._cps(student, heads, heads.representation, labels, pseudo, phase)
            weights["cps"] = phase.ramp * s.cps_weight
        terms["loss"] = sum(
            (weights[name] * term for name, term in terms.items()), torch.zeros_like(logits[0, 0].sum())
        )
        return terms

    def _cps(
        self,
        student: StudentPass,
        heads: Heads,
        representation: nn.Module,
        labels: Tensor,
        pseudo: PseudoLabels,
        phase: Phase,
    ) -> Tensor:
        s = self.settings
        with torch.no_grad():
            true_labels = labels[:, 0].long()
            known = (true_labels >= 0) & (true_labels < self.num_classes)
            all_labels = torch.cat([torch.where(known, true_labels, 0), pseudo.labels])
            valid = torch.cat([known, pseudo.confidence >= s.cps_confidence])
            logits = torch.cat([student.labelled_logits, student.unlabelled_logits])
            own = torch.softmax(logits.float(), 1).gather(1, all_labels.unsqueeze(1)).squeeze(1)
            uncertain = own < s.anchor_uncertainty
        prototypes = heads.dim.prototypes if heads.dim is not None and phase.rectifying else None
        with torch.autocast(logits.device.type, enabled=False):
            features = student.features.full.float()
            return cooperative_positive_supervision(
                lambda voxels: representation(features, voxels),
                all_labels.flatten(),
                valid.flatten(),
                uncertain.flatten(),
                self.num_classes,
                None if s.cps_positive == "mean" else prototypes,
                # A large weight approaches "prototype" alone.
                1e6 if s.cps_positive == "prototype" else s.prototype_weight,
                s.num_anchors,
                s.num_negatives,
                s.cps_temperature,
            )


def relationship_map(heads: nn.Module, features: DecoderFeatures, size: Sequence[int], detach: bool) -> Tensor:
    """Compute the relationship map M (Eq. 7) from tapped features.

    Args:
        heads: Heads with a dynamic interaction module.
        features: Decoder features of B patches.
        size: Size of the output grid in voxels.
        detach: Keep the gradient out of the network that computed the features.

    Returns:
        Relationship map, (B, C, *size). Gradients reach the heads and, unless detached, the features.
    """
    quarter, half = features.quarter, features.half
    if detach:
        quarter, half = quarter.detach(), half.detach()
    return heads.dim(quarter, half, size)  # type: ignore[operator, union-attr]
