"""True labels inside of otherwise unlabelled patches replace the teacher's pseudo labels there."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from nnunetv2_crln.training.objective import PseudoLabels


def with_known_labels(pseudo: PseudoLabels, known: Tensor | None) -> PseudoLabels:
    """Let true labels stand in for pseudo labels, with full confidence.

    Args:
        pseudo: Pseudo labels of the teacher, (B, *grid).
        known: True labels in the same geometry, (B, *grid), negative where there are none; None: nothing is known.

    Returns:
        The pseudo labels of the teacher where nothing is known, the true labels elsewhere.
    """
    if known is None:
        return pseudo
    is_known = known >= 0

    def certain(weights: Tensor) -> Tensor:
        return torch.where(is_known, torch.ones_like(weights), weights)

    return replace(
        pseudo,
        labels=torch.where(is_known, known.to(pseudo.labels.dtype), pseudo.labels),
        confidence=certain(pseudo.confidence),
        trust=None if pseudo.trust is None else certain(pseudo.trust),
    )
