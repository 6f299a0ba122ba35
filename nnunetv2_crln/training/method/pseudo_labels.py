"""Hold the labels that the teacher assigns to unlabelled patches, with their weights (Eq. 1)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nnunetv2_crln.training.method.strong_geometry import StrongGeometry


@dataclass(frozen=True)
class PseudoLabels:
    """Labels that the teacher assigns to the unlabelled patches.

    Attributes:
        labels: Class indices, (B, *grid), int64.
        confidence: Largest probability, (B, *grid).
        trust: Weight of each voxel that is confident enough, (B, *grid); None for 1 everywhere.
    """

    labels: Tensor
    confidence: Tensor
    trust: Tensor | None = None

    @classmethod
    def from_logits(cls, logits: Tensor, trust: Tensor | None = None) -> PseudoLabels:
        """Take the most probable class, and its probability.

        Args:
            logits: Before softmax, (B, C, *grid).
            trust: Weight of each voxel, (B, *grid), or None.

        Returns:
            The pseudo labels.
        """
        confidence, labels = torch.softmax(logits.float(), 1).max(1)
        return cls(labels, confidence, trust)

    @classmethod
    def from_target(cls, target: Tensor, num_classes: int) -> PseudoLabels:
        """Convert true labels: confidence 1 where a voxel has a label, and 0 where it is ignored.

        Args:
            target: Labels, (L, 1, *grid).
            num_classes: Number of classes, C; other values are ignored.

        Returns:
            The labels with confidence 1 or 0, fully trusted.
        """
        labels = target[:, 0].long()
        known = (labels >= 0) & (labels < num_classes)
        return cls(torch.where(known, labels, 0), known.float())

    def replaced_by(self, labels: Tensor, where: Tensor) -> PseudoLabels:
        """Replace labels by known ones, with full confidence and trust.

        Args:
            labels: Known labels, of the shape of :attr:`labels`.
            where: True where they are known, of the same shape or broadcast to it.

        Returns:
            The known labels there, and the own ones elsewhere.
        """

        def certain(weights: Tensor) -> Tensor:
            return torch.where(where, torch.ones_like(weights), weights)

        return PseudoLabels(
            torch.where(where, labels.to(self.labels.dtype), self.labels),
            certain(self.confidence),
            None if self.trust is None else certain(self.trust),
        )

    def warped_by(self, geometry: StrongGeometry, labelled: PseudoLabels | None = None) -> PseudoLabels:
        """Return the pseudo labels in the geometry of the strong view.

        Args:
            geometry: Geometry of the strong view.
            labelled: True labels of the labelled patches, for the voxels that were copied from them.

        Returns:
            Labels, confidences and trust in the new geometry.
        """

        def moved(name: str) -> Tensor:
            return geometry.apply(getattr(self, name), None if labelled is None else getattr(labelled, name))

        if self.trust is not None and labelled is not None and labelled.trust is None:
            labelled = replace(labelled, trust=torch.ones_like(labelled.confidence))
        return PseudoLabels(moved("labels"), moved("confidence"), None if self.trust is None else moved("trust"))

    def weight(self, threshold: float | Tensor) -> Tensor:
        """Compute the weight of each voxel in a loss: 0 below the threshold, the trust in it above.

        Args:
            threshold: Confidence threshold tau, or one for each class, (C,).

        Returns:
            Weights, (B, *grid), float.
        """
        at_voxel = threshold[self.labels] if isinstance(threshold, Tensor) else threshold
        confident = (self.confidence >= at_voxel).to(self.confidence.dtype)
        return confident if self.trust is None else confident * self.trust
