"""What a training keeps others from changing, until its end or that of its process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from nnunetv2_crln.layout import FOLD_LOCK, data_lock_file
from nnunetv2_crln.training.checkpoint import remove_unfinished
from nnunetv2_crln.utilities.locking import FolderLock


def lock_fold(locks: contextlib.ExitStack, folder: str | Path, print_line: Callable[[str], None]) -> None:
    """Keep other trainings out of a fold's folder, and remove what a killed one left half written.

    Args:
        locks: Releases the lock when it is closed.
        folder: ``.../fold_X``; made if it is missing.
        print_line: Prints into the training's log.

    Raises:
        UserError: Another training writes there.
    """
    os.makedirs(folder, exist_ok=True)
    lock = FolderLock(Path(folder) / FOLD_LOCK)
    lock.acquire(f"Another training writes into {folder}. Wait for its end, or train another fold.")
    locks.callback(lock.release)
    for name in remove_unfinished(folder):
        print_line(f"Removed {name}, which a killed training left half written")


def lock_data(locks: contextlib.ExitStack, preprocessed_data_folder: str | Path) -> None:
    """Keep preprocessing from deleting what a training reads; trainings share this lock.

    Args:
        locks: Releases the lock when it is closed.
        preprocessed_data_folder: ``nnUNet_preprocessed/DatasetXXX_Name/<data_identifier>``.

    Raises:
        UserError: The data are being preprocessed.
    """
    lock = FolderLock(data_lock_file(preprocessed_data_folder), shared=True)
    lock.acquire(f"{preprocessed_data_folder} is being preprocessed. Wait for its end, then train.")
    locks.callback(lock.release)
