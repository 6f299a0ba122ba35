"""Use partly labelled cases as unlabelled ones: the teacher labels the voxels whose label is ignored."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnunetv2_crln.training.dataloading.refreshed_cases import REMOVED
from nnunetv2_crln.training.method.known_labels import NOT_ANNOTATED, UNKNOWN
from nnunetv2_crln.training.partly_annotated import PartlyAnnotated


class JoinedCases:
    """Join the unlabelled and the labelled cases of a training into one dataset for nnU-Net's loader.

    Args:
        unlabelled: Dataset of the unlabelled cases; may be empty.
        labelled: Dataset of the labelled cases of the training, with nnU-Net's labels; no validation cases.
        ignore_label: Value of voxels without a true label.
        partly: Labelled cases in which only some classes are annotated. If dataset.json declares no ignore label, no
            other labelled case has anything unknown, and these alone join.
    """

    def __init__(
        self, unlabelled: Any, labelled: Any, ignore_label: int, partly: PartlyAnnotated | None = None
    ) -> None:
        self.unlabelled, self.labelled = unlabelled, labelled
        self.ignore_label = ignore_label
        self.partly = partly if partly and partly.annotated else None
        joining = list(labelled.identifiers)
        if partly is not None and not partly.declared:
            joining = [case for case in joining if case in partly.annotated]
        self.identifiers = [*unlabelled.identifiers, *joining]
        self._with_labels = frozenset(joining)

    def load_case(self, identifier: str) -> tuple:
        """Load a case as nnU-Net's loader needs it."""
        return self.dataset_of(identifier).load_case(identifier)

    def dataset_of(self, identifier: str) -> Any:
        """Return the dataset that a case comes from."""
        return self.labelled if identifier in self._with_labels else self.unlabelled

    def known_labels(self, target: Tensor, cases: np.ndarray) -> dict[str, Tensor]:
        """Extract the known labels of a batch.

        Args:
            target: Segmentation of each patch, (B, 1, *patch): labels of labelled cases, a mask of unlabelled ones.
            cases: Names of the cases, (B,).

        Returns:
            ``unlabelled_known``: true labels, and background in removed components, (B, *patch); :data:`UNKNOWN`
            where there are none, and outside of the image; :data:`NOT_ANNOTATED` in the background of partly annotated
            cases. With such cases also ``unlabelled_annotated``, the classes that are annotated in each case, (B, C).
        """
        labels = target[:, 0]
        labelled = self._per_patch([case in self._with_labels for case in cases], labels)
        known = torch.where(labelled & (labels != self.ignore_label), labels, UNKNOWN)
        known = torch.where(~labelled & (labels == REMOVED), 0, known)
        if self.partly is None:
            return {"unlabelled_known": known}
        partly = self._per_patch([case in self.partly.annotated for case in cases], labels)
        known = torch.where(partly & (known == 0), NOT_ANNOTATED, known)
        return {"unlabelled_known": known, "unlabelled_annotated": self.partly.annotated_in(cases)}

    @staticmethod
    def _per_patch(flags: list[bool], labels: Tensor) -> Tensor:
        return torch.tensor(flags).view(-1, *[1] * (labels.ndim - 1))
