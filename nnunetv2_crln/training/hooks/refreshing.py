"""Override nnU-Net's hooks to refresh the unlabelled cases between epochs."""

from __future__ import annotations

import os
from typing import Any

from nnunetv2_crln.layout import CHECKPOINT_FINAL, CHECKPOINT_LATEST
from nnunetv2_crln.training.dataloading.unlabelled_dataset import UnlabelledDataset
from nnunetv2_crln.training.method.crln import CRLN
from nnunetv2_crln.training.whole_volume_refresh.refresh import WholeVolumeRefresh
from nnunetv2_crln.training.whole_volume_refresh.schedule import RefreshInForce, RefreshSchedule
from nnunetv2_crln.training.whole_volume_refresh.store import RefreshStore
from nnunetv2_crln.training.whole_volume_refresh.volume_teacher import VolumeTeacher


class Refreshing:
    """Mixin for the trainer: the first process predicts the unlabelled cases whole after every so many epochs.

    Attributes:
        volume_refresh: Makes the refreshes; None without them, and in the other processes of a distributed training.
    """

    volume_refresh: WholeVolumeRefresh | None = None
    method: CRLN  # set by the trainer

    def open_refresh(self: Any, labelled: Any, unlabelled: UnlabelledDataset) -> RefreshInForce | None:
        """Prepare the refreshes of the unlabelled cases, for the loaders.

        Args:
            labelled: Dataset of the labelled training cases.
            unlabelled: Dataset of the unlabelled cases.

        Returns:
            The refresh in force at a step; None if there are none.
        """
        if self.settings.refresh_every is None or not unlabelled.identifiers:
            return None
        schedule = RefreshSchedule(
            self.settings.refresh_every,
            self.num_epochs,
            self.num_iterations_per_epoch,
            self.current_epoch,
            self.step,
        )
        store = RefreshStore(self.output_folder)
        if self.local_rank == 0:
            labels = self.label_manager
            self.volume_refresh = WholeVolumeRefresh(
                store,
                schedule,
                unlabelled,
                labelled,
                labels.foreground_regions if labels.has_regions else labels.foreground_labels,
                VolumeTeacher(
                    self.method,
                    self.device,
                    self.autocast,
                    self.plans_manager,
                    self.configuration_manager,
                    self.dataset_json,
                    regions=labels.has_regions,
                ),
                self.settings.refresh_max_share,
                self.print_to_log_file,
                complete_labels=not labels.has_ignore_label,
            )
        return RefreshInForce(store, schedule)

    def on_train_start(self: Any) -> None:
        """Delete the refreshes of an earlier training, or set those after the checkpoint aside to repeat them."""
        if self.local_rank == 0:
            store = RefreshStore(self.output_folder)
            if self.current_epoch:
                store.repeat_from(self.current_epoch)
            else:
                store.clear()
        super().on_train_start()  # type: ignore[misc]
        if self.volume_refresh is not None:
            self.volume_refresh.start()

    def on_epoch_end(self: Any) -> None:
        """Refresh if it is due, before the checkpoint of this epoch."""
        if self.volume_refresh is not None:
            self.volume_refresh.after_epoch(self.current_epoch)
        super().on_epoch_end()  # type: ignore[misc]

    def save_checkpoint(self: Any, filename: str) -> None:
        """Remove the refreshes that no checkpoint needs any more."""
        super().save_checkpoint(filename)  # type: ignore[misc]
        name = os.path.basename(filename)
        if self.volume_refresh is not None and name in (CHECKPOINT_LATEST, CHECKPOINT_FINAL):
            self.volume_refresh.saved(self.current_epoch + 1, final=name == CHECKPOINT_FINAL)
