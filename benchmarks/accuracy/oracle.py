"""The oracle: hidden labels of the unlabelled cases as pseudo labels, through the same losses and views.

It bounds what better pseudo labels can bring on a bed: where it is no better than the mean teacher, no method can be.
Only a benchmark may train it. It lives outside of the package, so that no trainer that a user can name reads labelsUl.
"""

from __future__ import annotations

import numpy as np
import torch

from nnunetv2_crln.training.dataloading.batches import UnlabelledBatches
from nnunetv2_crln.training.dataloading.refreshed_cases import REMOVED
from nnunetv2_crln.training.dataloading.unlabelled_dataset import UnlabelledDataset
from nnunetv2_crln.training.method.pseudo_labels import PseudoLabels
from nnunetv2_crln.training.monitoring.hidden_labels import HiddenLabels
from nnunetv2_crln.training.schedules import ShortSchedule
from nnunetv2_crln.training.variants import nnUNetTrainer_MeanTeacher


class OracleDataset(UnlabelledDataset):
    """Unlabelled cases whose "segmentation" is their hidden label."""

    hidden_labels: HiddenLabels

    def load_case(self, identifier: str):
        data, mask, previous, properties = super().load_case(identifier)
        label = self.hidden_labels.load(identifier, properties, tuple(data.shape[1:]))
        if label is None:
            raise FileNotFoundError(f"The oracle needs the hidden label of {identifier}.")
        mask = np.asarray(mask)
        return data, np.where(mask < 0, mask, label[None]).astype(mask.dtype), previous, properties


class OracleBatches(UnlabelledBatches):
    """Unlabelled batches with the hidden labels of the weak view, ``hidden`` (B, 1, *patch)."""

    def next_weak(self) -> dict:
        self._weak = super().next_weak()
        return self._weak

    def draw(self, rng: np.random.Generator, labelled: torch.Tensor) -> dict:
        batch = super().draw(rng, labelled)
        hidden = self._weak["target"]
        # A whole-volume refresh marks background alone: see RefreshedCases. Outside of the image nnU-Net teaches
        # background as well.
        return {**batch, "hidden": torch.where((hidden == REMOVED) | (hidden < 0), 0, hidden)}


class nnUNetTrainer_Oracle(nnUNetTrainer_MeanTeacher):
    """The mean teacher, told the truth."""

    unlabelled_batches = OracleBatches

    def open_unlabelled(self) -> OracleDataset:
        """Open the unlabelled cases together with their hidden labels."""
        found = super().open_unlabelled()
        dataset = OracleDataset(found.source_folder, found.identifiers)
        dataset.hidden_labels = HiddenLabels(
            self.plans_manager, self.configuration_manager, self.dataset_json["file_ending"]
        )
        return dataset

    def initialize(self):
        """Let true labels take the place of the teacher's."""
        super().initialize()
        self.method.pseudo_labels = self._true_labels

    def train_step(self, batch: dict) -> dict:
        """Keep the hidden labels of the batch for :meth:`_true_labels`."""
        self._hidden = batch["hidden"].to(self.device, non_blocking=True)
        return super().train_step(batch)

    def _true_labels(
        self,
        weak: torch.Tensor,
        rectifying: bool,
        impossible: torch.Tensor | None = None,
    ) -> tuple[PseudoLabels, dict[str, torch.Tensor]]:
        truth = PseudoLabels.from_target(self._hidden, self.label_manager.num_segmentation_heads)
        certain = truth.confidence.mean()
        return truth, {"confident_raw": certain, "confident": certain}


class nnUNetTrainer_Oracle_short(ShortSchedule, nnUNetTrainer_Oracle):
    """Oracle with the short schedule."""
