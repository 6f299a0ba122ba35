"""Use partly labelled cases as unlabelled ones: the teacher labels the voxels whose label is ignored."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

UNKNOWN = -1
"""Value of a voxel without a true label."""


class JoinedCases:
    """Join the unlabelled and the labelled cases of a training into one dataset for nnU-Net's loader.

    Args:
        unlabelled: Dataset of the unlabelled cases; may be empty.
        labelled: Dataset of the labelled cases of the training, with nnU-Net's labels; no validation cases.
        ignore_label: Value of voxels without a true label.
    """

    def __init__(self, unlabelled: Any, labelled: Any, ignore_label: int) -> None:
        self.unlabelled, self.labelled = unlabelled, labelled
        self.identifiers = [*unlabelled.identifiers, *labelled.identifiers]
        self.ignore_label = ignore_label
        self._with_labels = frozenset(labelled.identifiers)

    def load_case(self, identifier: str) -> tuple:
        """Load a case as nnU-Net's loader needs it."""
        return (self.labelled if identifier in self._with_labels else self.unlabelled).load_case(identifier)

    def known_labels(self, target: Tensor, cases: np.ndarray) -> Tensor:
        """Extract the known labels of a batch.

        Args:
            target: Segmentation of each patch, (B, 1, *patch): labels of labelled cases, a mask of unlabelled ones.
            cases: Names of the cases, (B,).

        Returns:
            True labels, (B, *patch); :data:`UNKNOWN` where there are none, and outside of the image.
        """
        labelled = torch.tensor([case in self._with_labels for case in cases]).view(-1, *[1] * (target.ndim - 2))
        labels = target[:, 0]
        return torch.where(labelled & (labels != self.ignore_label), labels, UNKNOWN)
