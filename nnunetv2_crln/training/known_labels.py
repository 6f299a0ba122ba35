"""Replace the teacher's pseudo labels by true labels where an otherwise unlabelled patch has them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from nnunetv2_crln.training.objective import PseudoLabels
from nnunetv2_crln.training.region_objective import Regions


def with_known_labels(pseudo: PseudoLabels, known: Tensor | None, regions: Regions | None = None) -> PseudoLabels:
    """Replace pseudo labels by true labels, with full confidence.

    Args:
        pseudo: Pseudo labels of the teacher, (B, *grid), or (B, K, *grid) for K regions.
        known: True labels in the same geometry, (B, *grid), negative where there are none; None if nothing is known.
        regions: Label values of each region, for pseudo labels of regions.

    Returns:
        The pseudo labels of the teacher where nothing is known, the true labels elsewhere.
    """
    if known is None:
        return pseudo
    is_known = known >= 0
    if regions is not None:
        is_known = is_known.unsqueeze(1)
        known = torch.stack([torch.isin(known, torch.tensor(r, device=known.device)) for r in regions], 1)

    def certain(weights: Tensor) -> Tensor:
        return torch.where(is_known, torch.ones_like(weights), weights)

    return replace(
        pseudo,
        labels=torch.where(is_known, known.to(pseudo.labels.dtype), pseudo.labels),
        confidence=certain(pseudo.confidence),
        trust=None if pseudo.trust is None else certain(pseudo.trust),
    )
