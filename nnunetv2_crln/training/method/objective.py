"""Compute the losses of one step (Eq. 2, 8, 15) without knowledge of the trainer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.losses.consistency import consistency_loss
from nnunetv2_crln.losses.cooperative_positive_supervision import cooperative_positive_supervision
from nnunetv2_crln.losses.pseudo_label import PseudoLabelLoss
from nnunetv2_crln.losses.recomputation import probability_of, recomputed_if_large
from nnunetv2_crln.modules.feature_taps import DecoderFeatures
from nnunetv2_crln.modules.representation import RepresentationHead
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.method.class_labels import ClassLabels, at_full_resolution
from nnunetv2_crln.training.method.class_thresholds import ClassThresholds
from nnunetv2_crln.training.method.gradient_norms import (
    GRADIENT_PREFIX,
    TERMS,
    TERMS_IF_COMPILED,
    GradientBalance,
    gradient_norms,
)
from nnunetv2_crln.training.method.heads import Heads
from nnunetv2_crln.training.method.phases import Phase
from nnunetv2_crln.training.method.pseudo_labels import PseudoLabels

FEW_CLASSES = 5
"""Largest number of classes, background included, for which one threshold serves all classes."""
BALANCE_EVERY = 10
"""Iterations between two measurements of the gradients, if they balance Cooperative Positive Supervision (CPS)."""


@dataclass
class StudentPass:
    """Outputs of one student forward pass over labelled and unlabelled patches together.

    Attributes:
        labelled_outputs: Input of nnU-Net's loss: logits (L, C, *grid), or with deep supervision a list of them.
        labelled_logits: Logits of the labelled patches at full resolution, (L, C, *grid).
        unlabelled_outputs: Logits of the unlabelled patches, (U, C, *grid), or with deep supervision a list of them.
        unlabelled_logits: Logits of the unlabelled patches at full resolution, (U, C, *grid).
        features: Decoder features of all L + U patches.
    """

    labelled_outputs: Tensor | list[Tensor]
    labelled_logits: Tensor
    unlabelled_outputs: Tensor | list[Tensor]
    unlabelled_logits: Tensor
    features: DecoderFeatures

    @classmethod
    def split(cls, outputs: Tensor | Sequence[Tensor], features: DecoderFeatures, num_labelled: int) -> StudentPass:
        """Split the outputs for a batch into those of labelled and of unlabelled patches.

        Args:
            outputs: Logits (L + U, C, *grid), or with deep supervision a list of them, full resolution first.
            features: Decoder features of all L + U patches.
            num_labelled: Number of labelled patches, L, which come first.

        Returns:
            The outputs by kind of patch.
        """
        if isinstance(outputs, Tensor):
            labelled, unlabelled = outputs[:num_labelled], outputs[num_labelled:]
            return cls(labelled, labelled, unlabelled, unlabelled, features)
        first, rest = [o[:num_labelled] for o in outputs], [o[num_labelled:] for o in outputs]
        return cls(first, first[0], rest, rest[0], features)


@dataclass(frozen=True)
class Contrast:
    """One problem of Cooperative Positive Supervision (CPS) over all labelled and unlabelled patches.

    Attributes:
        labels: Class of each voxel, (L + U, *grid), int64.
        valid: True where that class is known or sure enough, (L + U, *grid).
        uncertain: True where the student is not sure of that class, (L + U, *grid).
        num_classes: Number of classes of the problem.
    """

    labels: Tensor
    valid: Tensor
    uncertain: Tensor
    num_classes: int


class Objective:
    """Compute the total loss of Eq. 15.

    Args:
        settings: Weights and thresholds.
        supervised: nnU-Net's loss, called with ``labelled_outputs`` and their target.
        full_resolution: nnU-Net's loss without deep supervision, for the relationship map M.
        labels: What the labels are and how pseudo labels are made from them.
        pseudo_label_loss: Loss for ``"pseudo_label_loss": "nnunet"``; None takes cross-entropy (Eq. 2).
    """

    def __init__(
        self,
        settings: CRLNSettings,
        supervised: Callable[..., Tensor],
        full_resolution: Callable[[Tensor, Tensor], Tensor],
        labels: ClassLabels,
        pseudo_label_loss: PseudoLabelLoss | None = None,
    ) -> None:
        self.settings = settings
        self.supervised = supervised
        self.full_resolution = full_resolution
        self.labels = labels
        self.pseudo_label_loss = pseudo_label_loss
        self.measured_gradients: tuple[str, ...] = TERMS
        many = labels.num_classes > FEW_CLASSES if settings.class_thresholds == "auto" else settings.class_thresholds
        self.class_thresholds = ClassThresholds(labels.num_classes, settings.confidence_threshold) if many else None
        self.cps_balance = GradientBalance() if settings.cps_balance == "gradient" else None
        # State that the objective learns during training; it belongs in checkpoints.
        self.state = nn.ModuleDict()
        if self.class_thresholds is not None:
            self.state["class_thresholds"] = self.class_thresholds
        if self.cps_balance is not None:
            self.state["cps_balance"] = self.cps_balance

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the learned state; what the checkpoint of other settings lacks keeps its start, the rest is ignored.

        Args:
            state: State of :attr:`state` at an earlier time, perhaps with other settings.
        """
        for name, module in self.state.items():
            own = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
            if own:
                module.load_state_dict(own)

    def expect_compiled_network(self) -> None:
        """Limit the measured gradients to those that exist when the network runs inside torch.compile.

        Raises:
            UserError: The settings balance CPS by gradients that torch.compile hides.
        """
        if self.cps_balance is not None:
            raise UserError(
                '"crln" block: "cps_balance": "gradient" compares gradients inside the network, which torch.compile '
                'hides. Switch it off (export nnUNet_compile=f), or set "cps_balance" to "none" or "log_negatives".'
            )
        self.measured_gradients = TERMS_IF_COMPILED

    def share_of_confident(self, logits: Tensor) -> Tensor:
        """Return the share of voxels whose label is confident enough to be learned from.

        Args:
            logits: Before softmax, (B, C, *grid), of a network that nobody has rectified.

        Returns:
            Scalar tensor.
        """
        if self.class_thresholds is not None:
            return self.labels.of_logits(logits).weight(self.threshold).mean()
        # The maximum alone costs a fortieth of the labels.
        confidence = torch.softmax(self.labels.class_logits(logits).float(), 1).amax(1)
        return (confidence >= self.settings.confidence_threshold).float().mean()

    def learn_from(self, pseudo: PseudoLabels) -> None:
        """Update the teacher's mean confidence in each class."""
        if self.class_thresholds is not None:
            self.class_thresholds.update(pseudo.labels, pseudo.confidence)

    def measure_and_balance_gradients(
        self, terms: dict[str, Tensor], student: StudentPass, phase: Phase, step: int
    ) -> dict:
        """Measure the gradients of the weighted terms at Z4, and balance CPS by them if the settings say so.

        Args:
            terms: Unweighted loss terms, not yet backpropagated.
            student: Outputs of the student.
            phase: Training phase of the step.
            step: Index of the step, from 0.

        Returns:
            Norms by curve, scalar tensors, NaN in steps without a measurement; empty if they are not monitored.
        """
        every = self.settings.gradient_norm_every
        balancing = self.cps_balance is not None and "cps" in terms and step % BALANCE_EVERY == 0
        showing = bool(every) and step % every == 0
        measured = {name: terms[name] for name in self.measured_gradients if name in terms}
        norms = gradient_norms(measured, student.features.full) if balancing or showing else {}
        if balancing:
            self.cps_balance.update(norms["supervised"], norms["cps"])  # type: ignore[union-attr]
        if not every:
            return {}
        unknown = torch.full((), math.nan, device=terms["loss"].device)
        curves = {f"{GRADIENT_PREFIX}{name}": unknown for name in TERMS if name in terms}
        if showing:
            weights = self.weights(phase)
            curves |= {f"{GRADIENT_PREFIX}{name}": norm * weights[name] for name, norm in norms.items()}
        return curves

    @property
    def threshold(self) -> float | Tensor:
        """Confidence threshold tau, or one for each class, (C,)."""
        return self.settings.confidence_threshold if self.class_thresholds is None else self.class_thresholds()

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
        labels = at_full_resolution(target)
        terms: dict[str, Tensor] = {}
        # The backward pass goes from the last term to the first. So what the supervised loss keeps is released before
        # the others compute theirs again, and CPS makes its gradient, as large as Z4, when nothing else is left.
        if heads.representation is not None:
            terms["cps"] = self._cps(student, heads, heads.representation, labels, pseudo, phase)
        if relationship_map is not None:
            terms["relationship_map"] = recomputed_if_large(self.full_resolution, relationship_map, labels)
        terms["consistency"] = self._consistency(student, pseudo)
        terms["supervised"] = self.supervised(student.labelled_outputs, target)
        weights = self.weights(phase)
        terms["loss"] = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        return terms

    def weights(self, phase: Phase) -> dict[str, float | Tensor]:
        """Return the weight of each term in a phase; those of the unsupervised terms are ramped up."""
        s = self.settings
        cps: float | Tensor = phase.ramp * s.cps_weight
        if self.cps_balance is not None:
            cps = cps * self.cps_balance.factor
        elif s.cps_balance == "log_negatives":
            cps = cps / math.log(1 + s.num_negatives)
        return {
            "supervised": 1.0,
            "relationship_map": s.relationship_map_weight,
            "consistency": phase.ramp * s.consistency_weight,
            "cps": cps,
        }

    def _consistency(self, student: StudentPass, pseudo: PseudoLabels) -> Tensor:
        weight = pseudo.weight(self.threshold)
        if self.pseudo_label_loss is not None:
            return self.pseudo_label_loss(student.unlabelled_outputs, pseudo.labels, weight)
        return self._cross_entropy(student.unlabelled_logits, pseudo.labels, weight)

    def _cross_entropy(self, logits: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
        return recomputed_if_large(consistency_loss, logits, labels, weight)

    def _cps(
        self,
        student: StudentPass,
        heads: Heads,
        representation: RepresentationHead,
        labels: Tensor,
        pseudo: PseudoLabels,
        phase: Phase,
    ) -> Tensor:
        """Contrast the classes of each problem; the mean over the problems."""
        s = self.settings
        with torch.no_grad():
            problems = self._contrasts(student, labels, pseudo)
        use_prototypes = heads.dim is not None and phase.rectifying and s.cps_positive != "mean"
        prototypes = heads.dim.prototypes.unflatten(0, (len(problems), -1)) if use_prototypes else None  # type: ignore[union-attr]
        with torch.autocast(labels.device.type, enabled=False):
            dense = representation.at_every_voxel(student.features.full)  # once, however many problems there are
            terms = [
                cooperative_positive_supervision(
                    lambda voxels: representation.at_voxels(dense, voxels),
                    problem.labels.flatten(),
                    problem.valid.flatten(),
                    problem.uncertain.flatten(),
                    problem.num_classes,
                    None if prototypes is None else prototypes[number],
                    # A large weight approaches "prototype" alone.
                    1e6 if s.cps_positive == "prototype" else s.prototype_weight,
                    s.num_anchors,
                    s.num_negatives,
                    s.cps_temperature,
                )
                for number, problem in enumerate(problems)
            ]
        return torch.stack(terms).mean()

    def _contrasts(self, student: StudentPass, labels: Tensor, pseudo: PseudoLabels) -> list[Contrast]:
        """List the problems of CPS: all classes against each other."""
        s = self.settings
        true = self.labels.of_target(labels)
        valid = torch.cat([true.confidence > 0, pseudo.weight(s.cps_confidence) == 1])
        own = [
            probability_of(student.labelled_logits, true.labels),
            probability_of(student.unlabelled_logits, pseudo.labels),
        ]
        all_labels = torch.cat([true.labels, pseudo.labels])
        return [Contrast(all_labels, valid, torch.cat(own) < s.anchor_uncertainty, self.labels.num_classes)]
