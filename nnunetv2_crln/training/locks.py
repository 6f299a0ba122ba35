"""Lock the folders of a training until the training or its process ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from nnunetv2_crln.layout import FOLD_LOCK, data_lock_file, use_lock_file
from nnunetv2_crln.utilities.files import remove_leftovers
from nnunetv2_crln.utilities.locking import FolderLock


def lock_fold(locks: contextlib.ExitStack, folder: str | Path, print_line: Callable[[str], None]) -> None:
    """Lock the folder of a fold against other trainings, and remove unfinished files of a killed one.

    Args:
        locks: Stack that releases the lock when it is closed.
        folder: ``.../fold_X``; created if it is missing.
        print_line: Function that prints into the training's log.

    Raises:
        UserError: Another training writes to the folder.
    """
    os.makedirs(folder, exist_ok=True)
    lock = FolderLock(Path(folder) / FOLD_LOCK)
    lock.acquire(f"Another training writes into {folder}. Wait until it ends, or train another fold.")
    locks.callback(lock.release)
    for name in remove_leftovers(folder):
        print_line(f"Removed {name}, an unfinished file of a killed training")


def share_unlabelled_data(locks: contextlib.ExitStack, unlabelled_folder: str | Path) -> None:
    """Keep preprocessed unlabelled cases from being removed or replaced; new ones may be added.

    Args:
        locks: Stack that releases the lock when it is closed.
        unlabelled_folder: ``nnUNet_preprocessed/DatasetXXX_Name/<data_identifier>_unlabelled``; it may be missing.

    Raises:
        UserError: Cases are being removed at this moment.
    """
    if Path(unlabelled_folder).is_dir():
        lock = FolderLock(use_lock_file(unlabelled_folder), shared=True)
        lock.acquire(f"Cases of {unlabelled_folder} are being replaced. Wait until this ends, then train.")
        locks.callback(lock.release)


def lock_data(locks: contextlib.ExitStack, preprocessed_data_folder: str | Path) -> None:
    """Lock the preprocessed data against preprocessing, which would delete them; trainings share this lock.

    Args:
        locks: Stack that releases the lock when it is closed.
        preprocessed_data_folder: ``nnUNet_preprocessed/DatasetXXX_Name/<data_identifier>``.

    Raises:
        UserError: The data are being preprocessed.
    """
    lock = FolderLock(data_lock_file(preprocessed_data_folder), shared=True)
    lock.acquire(f"{preprocessed_data_folder} is being preprocessed. Wait until it ends, then train.")
    locks.callback(lock.release)
