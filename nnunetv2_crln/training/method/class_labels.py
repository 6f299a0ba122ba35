"""Make pseudo labels for labels that give each voxel one class; those of regions are in :mod:`region_labels`."""

from __future__ import annotations

from torch import Tensor

from nnunetv2_crln.training.method.pseudo_labels import PseudoLabels


def at_full_resolution(target: Tensor | list[Tensor]) -> Tensor:
    """Return the target itself, or the first of a list with one for each resolution of deep supervision."""
    return target[0] if isinstance(target, list) else target


class ClassLabels:
    """Make pseudo labels from logits and from true labels, for labels that give each voxel one class.

    Args:
        num_classes: Number of classes including background, C.
    """

    are_regions = False

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    def of_logits(self, logits: Tensor, trust: Tensor | None = None) -> PseudoLabels:
        """Label voxels with their most probable class.

        Args:
            logits: Before softmax, (B, C, *grid).
            trust: Weight of each voxel, (B, *grid), or None for 1.

        Returns:
            The pseudo labels, (B, *grid).
        """
        return PseudoLabels.from_logits(logits, trust)

    def of_target(self, target: Tensor | list[Tensor]) -> PseudoLabels:
        """Take the labels of the labelled patches as pseudo labels.

        Args:
            target: Target of nnU-Net, (L, 1, *grid), or a list with one per resolution, full resolution first.

        Returns:
            Labels with confidence 1, or 0 where they are ignored, (L, *grid).
        """
        return PseudoLabels.from_target(at_full_resolution(target), self.num_classes)

    def with_known(self, pseudo: PseudoLabels, known: Tensor | None) -> PseudoLabels:
        """Replace pseudo labels by true labels, with full confidence.

        Args:
            pseudo: Pseudo labels of the teacher.
            known: True label values in the same geometry, (B, *grid), negative where there are none; None if nothing is
                known.

        Returns:
            The pseudo labels of the teacher where nothing is known, the true labels elsewhere.
        """
        return pseudo if known is None else pseudo.replaced_by(*self._as_labels(known))

    def _as_labels(self, known: Tensor) -> tuple[Tensor, Tensor]:
        """Return true label values as labels of pseudo labels, and where they are known."""
        return known, known >= 0

    def class_logits(self, logits: Tensor) -> Tensor:
        """Return logits whose softmax gives the probabilities of the classes, (B, C, *grid)."""
        return logits
