"""Override nnU-Net's hooks for loaders and splits so that a training gets labelled and unlabelled batches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, ClassVar

from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

from nnunetv2_crln.preprocessed_dataset.splits import checked_split
from nnunetv2_crln.training import checks
from nnunetv2_crln.training.dataloading.batches import UnlabelledBatches
from nnunetv2_crln.training.dataloading.damaged import naming_damaged_cases
from nnunetv2_crln.training.dataloading.histogram_matching import HistogramMatching
from nnunetv2_crln.training.dataloading.streams import Streams
from nnunetv2_crln.training.dataloading.unlabelled_dataset import UnlabelledDataset, open_unlabelled_dataset
from nnunetv2_crln.training.dataloading.workers import WatchedWorkers, nnunet_without_workers
from nnunetv2_crln.training.locks import share_unlabelled_data
from nnunetv2_crln.training.method.phases import Phases
from nnunetv2_crln.training.partly_annotated import PartlyAnnotated

LATE_SHARE = 0.2
"""Share of the steps of an epoch that may wait for their batch before a training says so."""


class Loading:
    """Mixin for nnU-Net's trainer: its own loaders, combined with the unlabelled stream in its number of workers.

    Attributes:
        unlabelled: Preprocessed unlabelled cases.
        monitored: Cases to look at between epochs.
        num_cases: Number of labelled, validation and unlabelled cases.
        unlabelled_patches: Number of unlabelled patches in the batch of all processes together.
    """

    phases: Phases  # set by the trainer
    _watched_epochs = 0

    unlabelled_batches: ClassVar[type[UnlabelledBatches]] = UnlabelledBatches  # how unlabelled batches are made

    def get_dataloaders(self: Any) -> tuple[Any, Any]:
        """Build nnU-Net's loaders and combine them with the unlabelled stream."""
        for text in checks.labelled_cases_left_out(
            self.preprocessed_dataset_folder_base, self.plans_manager, self.configuration_name
        ):
            self.print_to_log_file(f"WARNING: {text}")
        labelled = self.dataset_class(self.preprocessed_dataset_folder)
        with nnunet_without_workers(), self._labels_as_preprocessed(), naming_damaged_cases(labelled):
            train, validation = super().get_dataloaders()  # type: ignore[misc]
        self.unlabelled = self.open_unlabelled()
        if self.local_rank == 0:
            share_unlabelled_data(self.locks, self.unlabelled.source_folder)
        streams = Streams(
            train.data_loader,
            validation.data_loader,
            self.unlabelled,
            self.label_manager,
            self.settings,
            batches=self.unlabelled_batches,
            partly=self._partly_annotated(),
            refresh=self.open_refresh(train.data_loader._data, self.unlabelled),
            matching=HistogramMatching.of_training(
                self.unlabelled, self.configuration_manager, self.settings.histogram_matching
            ),
        )
        self.num_cases, self.monitored = streams.num_cases, streams.monitored
        self.unlabelled_patches = streams.unlabelled_patches
        start = self.phases.describe_start(self.num_iterations_per_epoch)
        self.print_to_log_file(f"CRLN: {streams.describe()}{start}, seed {self.seed}")
        validated = self.current_epoch * self.num_val_iterations_per_epoch
        return streams.start(self.seed, self.step, validated, self.local_rank, self.device)

    def tell_of_late_batches(self: Any) -> None:
        """Print how often a GPU waited for its data in the second epoch, if often; in the first one workers start."""
        workers = self.dataloader_train
        if self.device.type != "cuda" or not isinstance(workers, WatchedWorkers):
            return
        share, workers.late = workers.late / self.num_iterations_per_epoch, 0
        self._watched_epochs += 1
        if self._watched_epochs == 2 and share > LATE_SHARE:
            self.print_to_log_file(
                f"The GPU waited for its data in {share:.0%} of this epoch's steps. The training would be "
                f"faster with more than {workers.num_processes} loader processes (nnUNet_n_proc_DA), more cores or a "
                "faster disk."
            )

    def open_unlabelled(self: Any) -> UnlabelledDataset:
        """Open the preprocessed unlabelled cases."""
        return open_unlabelled_dataset(
            self.preprocessed_dataset_folder_base,
            self.plans_manager,
            self.configuration_name,
            self._labelled_cases(),
            self.print_to_log_file,
            may_be_none=self.settings.ignored_voxels and self._partly_annotated().has_unknown_voxels,
        )

    def do_split(self: Any) -> tuple[Sequence[str], Sequence[str]]:
        """Return nnU-Net's training and validation cases of this fold after checking them."""
        data = (self.preprocessed_dataset_folder_base, self.plans_manager, self.configuration_name)
        if self.fold != "all":
            checks.refuse_split_of_some_cases(*data)
        split = checked_split(
            self.preprocessed_dataset_folder_base,
            self.fold,
            self._labelled_cases(),
            super().do_split,  # type: ignore[misc]
            self.print_to_log_file,
            partial(checks.command_to_preprocess, *data),
        )
        return self._partly_annotated().split(self.fold, *split)

    def _labelled_cases(self: Any) -> list[str]:
        """Return the names of all preprocessed labelled cases."""
        if self.dataset_class is None:
            self.dataset_class = infer_dataset_class(self.preprocessed_dataset_folder)
        return self.dataset_class.get_identifiers(self.preprocessed_dataset_folder)

    def _partly_annotated(self: Any) -> PartlyAnnotated:
        """Return which classes the labelled cases lack; trainers with their own splits need it, too."""
        return PartlyAnnotated.of(self.dataset_json, self._labelled_cases(), self.label_manager)

    @contextlib.contextmanager
    def _labels_as_preprocessed(self: Any) -> Iterator[None]:
        """Let nnU-Net's loaders sample by the labels of dataset.json alone, within the ``with`` block.

        With the ignore label of partly annotated cases they would look for annotated places, which the preprocessed
        cases do not list.
        """
        label_manager = self.label_manager
        self.label_manager = self.plans_manager.get_label_manager(self.dataset_json)
        try:
            yield
        finally:
            self.label_manager = label_manager
