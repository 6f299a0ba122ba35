"""The labelled and the unlabelled stream of a training, and that of its online validation."""

from __future__ import annotations

from typing import TypeAlias

import torch
from batchgenerators.dataloading.multi_threaded_augmenter import MultiThreadedAugmenter
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.dataloading.batches import SeededBatches, UnlabelledBatches
from nnunetv2_crln.training.dataloading.unlabelled_dataset import UnlabelledDataset
from nnunetv2_crln.training.dataloading.views import repeatable
from nnunetv2_crln.training.dataloading.workers import in_workers, num_workers

Augmenter: TypeAlias = MultiThreadedAugmenter | SingleThreadedAugmenter


class Streams:
    """nnU-Net's two loaders, joined by the unlabelled cases.

    Args:
        labelled: nnU-Net's loader of training patches; its augmentation is made repeatable.
        validation: nnU-Net's loader of validation patches.
        unlabelled: The unlabelled cases.
        label_manager: nnU-Net's.
        settings: Size of the unlabelled batch, CutMix and flips.
    """

    def __init__(
        self,
        labelled: nnUNetDataLoader,
        validation: nnUNetDataLoader,
        unlabelled: UnlabelledDataset,
        label_manager,
        settings: CRLNSettings,
    ) -> None:
        repeatable(labelled.transforms)
        self.labelled, self.validation = labelled, validation
        size = unlabelled_batch_size(settings.unlabelled_batch_size, labelled.batch_size)
        self.unlabelled = UnlabelledBatches(labelled, unlabelled, size, label_manager, settings)
        self.num_cases = {
            "labelled": len(labelled.indices),
            "validation": len(validation.indices),
            "unlabelled": len(unlabelled.identifiers),
        }

    def describe(self) -> str:
        """Return the numbers of cases and patches in words."""
        return (
            f"{self.num_cases['labelled']} labelled and {self.num_cases['unlabelled']} unlabelled cases, "
            f"{self.labelled.batch_size} + {self.unlabelled.loader.batch_size} patches in a batch"
        )

    def start(self, seed: int, step: int, validated: int, rank: int, pin_memory: bool) -> tuple[Augmenter, Augmenter]:
        """Start the workers, as many as nnU-Net would use.

        Args:
            seed: Of the training.
            step: Next training step.
            validated: Validation batches drawn so far.
            rank: Of this process in a distributed training.
            pin_memory: For a GPU.

        Returns:
            Endless batches for training and for online validation.
        """
        training = SeededBatches(self.labelled, self.unlabelled, seed, "train", step, num_workers(), rank)
        workers = num_workers(for_validation=True)
        online = SeededBatches(self.validation, None, seed, "validation", validated, workers, rank)
        return in_workers(training, pin_memory), in_workers(online, pin_memory)


def unlabelled_batch_size(wanted: int | None, labelled: int) -> int:
    """Return the number of unlabelled patches in a batch of this process.

    Args:
        wanted: Of all processes together; None: as many as labelled ones.
        labelled: Of this process; nnU-Net has divided the labelled batch over the processes already.
    """
    if wanted is None:
        return labelled
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return max(1, wanted // torch.distributed.get_world_size())
    return wanted
