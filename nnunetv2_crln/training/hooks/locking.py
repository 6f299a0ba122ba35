"""Keep other trainings, and preprocessing, out of the folders of a training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from nnunetv2_crln.training.former_model import forget_validation, remove_former_model, set_former_model_aside
from nnunetv2_crln.training.locks import lock_data, lock_fold
from nnunetv2_crln.utilities.light_pools import light_validation


class Locking:
    """Mixin for nnU-Net's trainer: it locks its folders where its hooks say so; the first process does it for all."""

    @cached_property
    def locks(self) -> contextlib.ExitStack:
        """Stack of the locks that are held until the end of the training."""
        return contextlib.ExitStack()

    def lock_folders(self: Any) -> None:
        """Lock the fold against other trainings, and the preprocessed data against preprocessing.

        A training that begins anew sets the former model of the fold aside.

        Raises:
            UserError: One of them is in use.
        """
        if self.local_rank == 0:
            lock_fold(self.locks, self.output_folder, self.print_to_log_file)
            lock_data(self.locks, self.preprocessed_dataset_folder)
            if self.current_epoch == 0:
                set_former_model_aside(self.output_folder, self.print_to_log_file)

    def release_folders(self: Any) -> None:
        """Remove the model that this training has replaced, and release the locks."""
        if self.local_rank == 0:
            remove_former_model(self.output_folder)
        self.locks.close()

    @contextlib.contextmanager
    def validating(self: Any) -> Iterator[None]:
        """Lock the fold, and let nnU-Net start one process per core at most, within the ``with`` block.

        The result of an earlier validation is removed first: it must not tell of predictions that are half replaced.

        Yields:
            Nothing.

        Raises:
            UserError: Another training uses the fold.
        """
        with contextlib.ExitStack() as locks, light_validation():
            if self.local_rank == 0:
                lock_fold(locks, self.output_folder, self.print_to_log_file)
                forget_validation(self.output_folder)
            yield
