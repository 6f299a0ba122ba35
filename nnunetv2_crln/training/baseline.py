"""Make nnU-Net's own training a fair baseline: it computes on a CPU, and locks, as the semi-supervised trainers do."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import CHECKPOINT_STATE
from nnunetv2_crln.preprocessed_dataset.labelled_status import require_labelled_data
from nnunetv2_crln.preprocessed_dataset.plans import check_plans
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.checks import plans_file, refuse_split_of_some_cases
from nnunetv2_crln.training.hooks.cpu_arithmetic import CPUArithmetic
from nnunetv2_crln.training.hooks.locking import Locking
from nnunetv2_crln.training.unused_layers import freezing_unused_layers
from nnunetv2_crln.utilities.checkpoint_files import read_model
from nnunetv2_crln.utilities.files import finished_file
from nnunetv2_crln.utilities.parallel import end_forks_with_this_process


class SupervisedBaseline(Locking, CPUArithmetic):
    """Mixin that gives nnU-Net's own trainer the arithmetic, layout, allocator and locks of the others."""

    def initialize(self: Any) -> None:
        """Read the settings that the plans have for a CPU, and build the network."""
        plans = self.plans_manager.plans
        check_plans(plans, plans_file(plans), self.configuration_name)
        require_labelled_data(self.preprocessed_dataset_folder, self.plans_manager, self.configuration_name)
        self.settings = CRLNSettings.from_plans(self.configuration_manager.configuration)
        with freezing_unused_layers(self):
            super().initialize()

    def do_split(self: Any) -> tuple[Sequence[str], Sequence[str]]:
        """Return the cases of this fold; a split that lacks cases for good is not made."""
        if self.fold != "all":
            data = (self.preprocessed_dataset_folder_base, self.plans_manager, self.configuration_name)
            refuse_split_of_some_cases(*data)
        return super().do_split()  # type: ignore[misc]

    def on_train_start(self: Any) -> None:
        """Lock the fold and the data, and start as usual; a killed training must not leave loader workers behind."""
        self.lock_folders()
        end_forks_with_this_process(self)
        super().on_train_start()

    def on_train_end(self: Any) -> None:
        """End as usual, and release the locks."""
        super().on_train_end()  # type: ignore[misc]
        self.release_folders()

    def load_checkpoint(self: Any, filename_or_checkpoint: dict | str) -> None:
        """Load a checkpoint as usual, after a look at whether it is sound and one of supervised training.

        Args:
            filename_or_checkpoint: Path of a checkpoint, or its content.

        Raises:
            UserError: The file is damaged, or a semi-supervised trainer wrote it.
        """
        given = filename_or_checkpoint
        if not isinstance(given, dict) and CHECKPOINT_STATE in (found := read_model(given)):
            raise UserError(
                f"{given} was written by {found['trainer_name']}, whose training {type(self).__name__} cannot "
                "continue. Continue it with its own trainer (-tr). To start from its weights, train in an empty fold "
                "with -pretrained_weights instead of --c."
            )
        super().load_checkpoint(given)  # type: ignore[misc]

    def save_checkpoint(self: Any, filename: str) -> None:
        """Save as usual, but in one step: a killed training must not leave half of the checkpoint it continues from."""
        if self.local_rank != 0 or self.disable_checkpointing:
            super().save_checkpoint(filename)  # type: ignore[misc]
            return
        with finished_file(filename) as temporary:
            super().save_checkpoint(str(temporary))  # type: ignore[misc]

    def train_step(self: Any, batch: dict) -> dict:
        """Train one step in the chosen arithmetic."""
        with self._autocast_on_cpu():
            return super().train_step(batch)  # type: ignore[misc]

    def validation_step(self: Any, batch: dict) -> dict:
        """Validate one batch in the chosen arithmetic."""
        with self._autocast_on_cpu():
            return super().validation_step(batch)  # type: ignore[misc]

    def perform_actual_validation(self: Any, save_probabilities: bool = False) -> None:
        """Validate on whole cases with the fold locked, and with one worker process per core at most."""
        with self.validating():
            super().perform_actual_validation(save_probabilities)  # type: ignore[misc]

    def _autocast_on_cpu(self: Any) -> contextlib.AbstractContextManager:
        # On a GPU, nnU-Net's own step does so.
        return self.autocast() if self.device.type == "cpu" else contextlib.nullcontext()
