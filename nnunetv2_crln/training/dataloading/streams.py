"""Combine the labelled and the unlabelled stream of a training, and start its workers."""

from __future__ import annotations

from typing import TypeAlias

import torch
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.settings import PATCHES_TO_MIX, CRLNSettings
from nnunetv2_crln.training.dataloading.batches import SeededBatches, UnlabelledBatches
from nnunetv2_crln.training.dataloading.histogram_matching import HistogramMatching
from nnunetv2_crln.training.dataloading.joined_cases import JoinedCases
from nnunetv2_crln.training.dataloading.refreshed_cases import RefreshedCases
from nnunetv2_crln.training.dataloading.unlabelled_dataset import UnlabelledDataset
from nnunetv2_crln.training.dataloading.views import repeatable
from nnunetv2_crln.training.dataloading.workers import WatchedWorkers, in_workers, num_workers
from nnunetv2_crln.training.partly_annotated import PartlyAnnotated
from nnunetv2_crln.training.whole_volume_refresh.schedule import RefreshInForce
from nnunetv2_crln.utilities.processes import number_of_processes

Augmenter: TypeAlias = WatchedWorkers | SingleThreadedAugmenter


class Streams:
    """Combine nnU-Net's two loaders with the unlabelled cases.

    Args:
        labelled: Loader of nnU-Net for training patches; its augmentation is made repeatable.
        validation: Loader of nnU-Net for validation patches.
        unlabelled: Unlabelled cases.
        label_manager: Label manager of nnU-Net.
        settings: Hyper-parameters; size of the unlabelled batch and strong view are used.
        batches: Class that makes the unlabelled batches.
        partly: Labelled cases in which only some classes are annotated.
        refresh: Whole-volume refresh in force at a step; None without refreshes.
        matching: Histogram matching of labelled patches and strong views; None without.
    """

    def __init__(
        self,
        labelled: nnUNetDataLoader,
        validation: nnUNetDataLoader,
        unlabelled: UnlabelledDataset,
        label_manager: LabelManager,
        settings: CRLNSettings,
        batches: type[UnlabelledBatches] = UnlabelledBatches,
        partly: PartlyAnnotated | None = None,
        refresh: RefreshInForce | None = None,
        matching: HistogramMatching | None = None,
    ) -> None:
        repeatable(labelled.transforms)
        self.labelled, self.validation = labelled, validation
        self.cutmix = settings.cutmix_probability > 0
        cases = unlabelled if refresh is None else RefreshedCases(unlabelled, refresh)
        self.cases: UnlabelledDataset | RefreshedCases | JoinedCases = cases
        unknown_voxels = label_manager.has_ignore_label if partly is None else partly.has_unknown_voxels
        if settings.ignored_voxels and unknown_voxels:
            self.cases = JoinedCases(cases, labelled._data, label_manager.ignore_label, partly)
        # To look at between epochs; without unlabelled cases, the partly labelled ones.
        self.monitored = unlabelled if unlabelled.identifiers else self.cases
        self.partly, self.matching = partly, matching
        self.highest_label = highest_label(label_manager)
        if partly is not None and not partly.declared and self.highest_label is not None:
            # The preprocessed labels do not hold the ignore label yet.
            self.highest_label = partly.num_classes - 1
        size = unlabelled_batch_size(settings.unlabelled_batch_size, labelled.batch_size)
        self.unlabelled = batches(labelled, self.cases, size, label_manager, settings, refresh, matching)
        self.unlabelled_patches = size * number_of_processes()
        self.num_cases = {
            "labelled": len(labelled.indices),
            "validation": len(validation.indices),
            "unlabelled": len(unlabelled.identifiers),
        }

    def describe(self) -> str:
        """Describe the numbers of cases and patches."""
        ignored = ", ignored voxels of the labelled ones as well" if isinstance(self.cases, JoinedCases) else ""
        annotated = self.partly.annotated if self.partly else {}
        number = sum(case in annotated for case in self.labelled.indices)
        labelled = f"{self.num_cases['labelled']} labelled{f' ({number} of them partly)' if number else ''}"
        size = self.unlabelled.loader.batch_size
        alone = " (no CutMix: it needs two unlabelled patches)" if size == 1 and self.cutmix else ""
        matching = ", histogram matching" if self.matching else ""
        return (
            f"{labelled} and {self.num_cases['unlabelled']} unlabelled cases{ignored}, "
            f"{self.labelled.batch_size} + {size} patches in a batch{alone}{matching}"
        )

    def start(
        self, seed: int, step: int, validated: int, rank: int, device: torch.device
    ) -> tuple[Augmenter, Augmenter]:
        """Start as many workers as nnU-Net would.

        Args:
            seed: Seed of the training.
            step: Next training step.
            validated: Number of validation batches drawn so far.
            rank: Rank of this process in distributed training.
            device: Device of the training.

        Returns:
            Endless batches for training and for online validation.
        """
        training = SeededBatches(
            self.labelled,
            self.unlabelled,
            seed,
            "train",
            step,
            num_workers(),
            rank,
            highest_label=self.highest_label,
            partly=self.partly,
            matching=self.matching,
        )
        online = SeededBatches(
            self.validation,
            None,
            seed,
            "validation",
            validated,
            num_workers(for_validation=True),
            rank,
            highest_label=self.highest_label,
        )
        return in_workers(training, device), in_workers(online, device)


def highest_label(label_manager: LabelManager) -> int | None:
    """Return the largest value that a target of this training may hold; None for regions, which have no values.

    Args:
        label_manager: nnU-Net's label manager.
    """
    if label_manager.has_regions:
        return None
    return label_manager.ignore_label if label_manager.has_ignore_label else label_manager.num_segmentation_heads - 1


def unlabelled_batch_size(wanted: int | None, labelled: int) -> int:
    """Compute the number of unlabelled patches in a batch of this process.

    Args:
        wanted: Number for all processes together; None takes that of labelled patches, but at least two, because CutMix
            mixes two: nnU-Net divides a batch of two among two GPUs.
        labelled: Number of labelled patches of this process, because nnU-Net has already divided the batch.

    Returns:
        Number of patches.

    Raises:
        UserError: The processes cannot share them evenly.
    """
    if wanted is None:
        return max(PATCHES_TO_MIX, labelled)
    processes = number_of_processes()
    if wanted % processes:
        raise UserError(
            f'"crln" block: "unlabelled_batch_size" is {wanted}, which {processes} GPUs cannot share. Set it to a '
            f"multiple of {processes}, or to null for as many as labelled patches."
        )
    return wanted // processes
