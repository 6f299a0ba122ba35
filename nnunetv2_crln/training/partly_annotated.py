"""Train on labelled cases in which only some classes are annotated: their background may be any of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.layout import ANNOTATED_LABELS
from nnunetv2_crln.raw_dataset.annotated_labels import AnnotatedLabels, annotated_entry, annotated_labels


@dataclass(frozen=True)
class PartlyAnnotated:
    """Know which classes are annotated in which case, and hide the background of those that lack some.

    Attributes:
        annotated: Annotated foreground classes of each case that lacks some.
        num_classes: Number of classes including background, C.
        ignore_label: Value of voxels without a true label.
        declared: dataset.json has an ignore label of its own.
    """

    annotated: AnnotatedLabels = field(default_factory=dict)
    num_classes: int = 0
    ignore_label: int | None = None
    declared: bool = False

    @classmethod
    def of(cls, dataset_json: Mapping[str, Any], cases: Sequence[str], label_manager: Any) -> PartlyAnnotated:
        """Read dataset.json.

        Args:
            dataset_json: Content of dataset.json.
            cases: Names of the labelled cases.
            label_manager: nnU-Net's label manager.

        Returns:
            What it says; nothing if all cases are completely annotated.

        Raises:
            UserError: The entry is malformed, or the labels are regions.
        """
        return cls(
            annotated_labels(dataset_json, cases, may_be_absent=True),
            label_manager.num_segmentation_heads,
            label_manager.ignore_label if label_manager.has_ignore_label else label_manager.num_segmentation_heads,
            "ignore" in dataset_json["labels"],
        )

    @property
    def has_unknown_voxels(self) -> bool:
        """True if labelled cases have voxels without a true label."""
        return self.declared or bool(self.annotated)

    def hide_background(self, batch: dict) -> None:
        """Replace the background of partly annotated cases by the ignore label, in place.

        Args:
            batch: nnU-Net's, with ``target`` (B, 1, *patch) or a list of them, and ``keys``.
        """
        targets = batch["target"] if isinstance(batch["target"], list) else [batch["target"]]
        for sample, case in enumerate(batch["keys"]):
            if case in self.annotated:
                for target in targets:
                    target[sample].masked_fill_(target[sample] == 0, self.ignore_label)

    def annotated_in(self, cases: np.ndarray) -> Tensor:
        """Return which foreground classes are annotated in each of some cases, (B, C); none for complete ones."""
        flags = torch.zeros(len(cases), self.num_classes, dtype=torch.bool)
        for row, case in zip(flags, cases, strict=True):
            row[list(self.annotated.get(str(case), ()))] = True
        return flags

    def split(self, fold: int | str, training: Sequence[str], validation: Sequence[str]) -> tuple[list, list]:
        """Leave partly annotated cases out of the validation, which would take their background for true.

        Args:
            fold: Fold of the training.
            training: Training cases.
            validation: Validation cases.

        Returns:
            Training and validation cases.

        Raises:
            UserError: No completely annotated case is left in one of them.
        """
        complete = [case for case in validation if case not in self.annotated]
        for kind, left in (("validation", complete), ("training", set(training) - set(self.annotated))):
            if not left:
                raise UserError(
                    f'Fold {fold} has no {kind} case in which all classes are annotated ("{ANNOTATED_LABELS}" of '
                    f"dataset.json names {listing(self.annotated)}). Only such cases show what background is: write a "
                    "splits_final.json with at least one of them in 'train' and in 'val' of each fold."
                )
        return list(training), complete


def label_manager_of(dataset_json: Mapping[str, Any], plans_manager: Any) -> Any:
    """Make the label manager of a training; for partly annotated cases it gets an ignore label without an output.

    Args:
        dataset_json: Content of dataset.json.
        plans_manager: nnU-Net's plans.

    Returns:
        nnU-Net's label manager. Regions, which do not go with such cases, are refused by :meth:`PartlyAnnotated.of`.
    """
    label_manager = plans_manager.get_label_manager(dataset_json)
    if label_manager.has_ignore_label or label_manager.has_regions or not annotated_entry(dataset_json):
        return label_manager
    labels = {**dataset_json["labels"], "ignore": label_manager.num_segmentation_heads}
    return plans_manager.get_label_manager({**dataset_json, "labels": labels})
