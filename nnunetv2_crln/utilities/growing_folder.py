"""Write a folder that appears as a whole, and remove what killed processes left of such folders."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.utilities.files import leftovers_of, temporary_beside
from nnunetv2_crln.utilities.locking import FolderLock

_LOCK_ENDING = ".lock"


@contextlib.contextmanager
def growing_folder(target: Path) -> Iterator[Path]:
    """Yield a hidden folder beside the target, and rename it to the target once it is complete.

    Folders that killed processes left for the same target are removed first.

    Args:
        target: Folder to make; it must not exist.

    Yields:
        Empty folder to fill. It is removed if the body raises.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(target)
    temporary = temporary_beside(target)
    # Beside the folder, so that it can be renamed while the lock is held: Windows moves no folder with an open file.
    lock_file = _lock_file(temporary)
    try:
        with FolderLock(lock_file) as lock:
            lock.acquire(f"{temporary} is being written by another process. Run the command again.")
            temporary.mkdir()
            yield temporary
            temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        lock_file.unlink(missing_ok=True)


def _lock_file(folder: Path) -> Path:
    return folder.with_name(folder.name + _LOCK_ENDING)


def _remove_abandoned(target: Path) -> None:
    """Remove the hidden folders of a target, but for those of processes that still hold their locks."""
    lock_files = {_lock_file(folder) for folder in leftovers_of(target)}
    for lock_file in sorted(lock_files.union(leftovers_of(_lock_file(target)))):
        with FolderLock(lock_file) as lock:
            with contextlib.suppress(UserError):
                lock.acquire("")
            if not lock.is_held:
                continue
            shutil.rmtree(lock_file.with_name(lock_file.name.removesuffix(_LOCK_ENDING)), ignore_errors=True)
        lock_file.unlink(missing_ok=True)
