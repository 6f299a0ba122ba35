"""Mark what is known of the voxels of unlabelled patches, and exclude the classes that they cannot have."""

from __future__ import annotations

import torch
from torch import Tensor

UNKNOWN = -1
"""Value of a voxel without a true label."""
NOT_ANNOTATED = -2
"""Value of a voxel that is background or of a class that is not annotated in its case."""


def impossible_classes(known: Tensor | None, annotated: Tensor | None) -> Tensor | None:
    """Find the classes that unknown voxels of partly annotated cases cannot have: those that are annotated there.

    Args:
        known: What is known of the unlabelled patches, (B, *grid), as ``JoinedCases`` says it.
        annotated: Classes that are annotated in the case of each patch, (B, C); None without such cases.

    Returns:
        True for each class that a voxel cannot have, (B, C, *grid); None if there is none. Background is possible
        everywhere.
    """
    if known is None or annotated is None:
        return None
    return (known == NOT_ANNOTATED).unsqueeze(1) & annotated.view(*annotated.shape, *[1] * (known.ndim - 1))


def exclude_classes(logits: Tensor, impossible: Tensor | None) -> Tensor:
    """Exclude classes: the others share the whole probability.

    Args:
        logits: Before softmax, (B, C, *grid).
        impossible: True for classes to exclude, (B, C, *grid); None excludes none.

    Returns:
        The logits, minus infinity for what is excluded.
    """
    return logits if impossible is None else logits.float().masked_fill(impossible, -torch.inf)
