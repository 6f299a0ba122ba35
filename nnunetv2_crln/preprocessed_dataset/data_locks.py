"""Lock preprocessed data against trainings and against other commands that write them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.layout import data_lock_file, use_lock_file
from nnunetv2_crln.preprocessed_dataset.commands import labelled_folder
from nnunetv2_crln.preprocessed_dataset.plans import read_checked_plans
from nnunetv2_crln.utilities.locking import FolderLock


class LabelledDataLocks:
    """Exclusive locks on folders of labelled cases, held until the end of the ``with`` block.

    Args:
        way_out: What else the user can do when a folder is in use; a sentence of the error.
    """

    def __init__(self, way_out: str = "") -> None:
        self._way_out = way_out
        self._locks = contextlib.ExitStack()
        # A process that closes its second handle of a file loses the lock of the first one.
        self._held: set[Path] = set()

    def acquire(self, folder: Path) -> None:
        """Lock a folder, unless it is locked already.

        Args:
            folder: ``nnUNet_preprocessed/DatasetXXX_Name/<data_identifier>``.

        Raises:
            UserError: A training is running, or another command is preprocessing the same data.
        """
        if folder in self._held:
            return
        lock = self._locks.enter_context(FolderLock(data_lock_file(folder)))
        message = f"{folder} is in use by a training, or is being preprocessed. Wait until it ends. {self._way_out}"
        lock.acquire(message.rstrip())
        self._held.add(folder)

    def __enter__(self) -> LabelledDataLocks:
        return self

    def __exit__(self, *_: object) -> None:
        self._locks.close()


def existing_data(preprocessed_dataset_folder: Path, plans_name: str, configurations: Iterable[str]) -> list[Path]:
    """Find the labelled data that plans have led to, before these plans are replaced.

    Args:
        preprocessed_dataset_folder: ``nnUNet_preprocessed/DatasetXXX_Name``.
        plans_name: Name of the plans.
        configurations: Names of configurations; those that the plans lack do not count.

    Returns:
        Existing folders of preprocessed cases; none without plans that can be read.
    """
    path = preprocessed_dataset_folder / f"{plans_name}.json"
    try:
        plans = read_checked_plans(path)
    except (OSError, UserError):
        return []
    manager = PlansManager(plans)
    folders = set()
    for name in configurations:
        # Incomplete entries are about to be replaced.
        with contextlib.suppress(KeyError, ValueError, RuntimeError, TypeError):
            folders.add(labelled_folder(preprocessed_dataset_folder, manager, name))
    return sorted(folder for folder in folders if folder.is_dir())


@contextlib.contextmanager
def unlabelled_data_lock(folder: Path, num_parts: int, part_id: int) -> Iterator[None]:
    """Keep other commands from preprocessing the same unlabelled cases; trainings may read others meanwhile.

    Args:
        folder: Folder of the unlabelled cases.
        num_parts: Number of parts that are preprocessed side by side; only another part may run at the same time.
        part_id: Index of the part, from 0.

    Yields:
        Nothing; the lock is held within the ``with`` block.

    Raises:
        UserError: Another command is preprocessing them.
    """
    whole = data_lock_file(folder)
    part = whole.with_name(f"{whole.stem}_part_{part_id}_of_{num_parts}{whole.suffix}")
    wanted = [FolderLock(whole, shared=num_parts > 1), *([FolderLock(part)] if num_parts > 1 else [])]
    with contextlib.ExitStack() as locks:
        for lock in wanted:
            locks.enter_context(lock).acquire(
                f"{folder} is being preprocessed by another command. Wait until it ends, then run this command again."
            )
        yield


def refuse_cases_in_use(folder: Path, cases: Sequence[str]) -> None:
    """Check that no training reads unlabelled cases that are about to be removed or replaced.

    Args:
        folder: Folder of the unlabelled cases.
        cases: Names of these cases.

    Raises:
        UserError: There are some, and a training is running.
    """
    if cases:
        with FolderLock(use_lock_file(folder)) as lock:
            lock.acquire(
                f"A training reads {folder}, and this command would remove or replace {len(cases)} of its cases: "
                f"{listing(cases)}. Wait until the training ends; new cases alone may be added at any time."
            )
