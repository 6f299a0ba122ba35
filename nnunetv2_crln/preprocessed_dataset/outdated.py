"""Mark preprocessed labelled cases that a command is about to replace, so that no training takes them if it is killed.

The mark is an empty folder among the cases: nnU-Net overlooks it, and removes it with the cases when it replaces them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from nnunetv2_crln.layout import OUTDATED_MARK


def mark_outdated(data_folders: Sequence[Path]) -> None:
    """Mark folders of preprocessed labelled cases."""
    for folder in data_folders:
        (folder / OUTDATED_MARK).mkdir(exist_ok=True)


def unmark(data_folders: Sequence[Path]) -> None:
    """Remove the marks of folders; those without one stay as they are."""
    for folder in data_folders:
        with contextlib.suppress(OSError):
            (folder / OUTDATED_MARK).rmdir()


def is_outdated(data_folder: str | Path) -> bool:
    """Return whether a command that was to replace these cases has not come to it."""
    return (Path(data_folder) / OUTDATED_MARK).is_dir()
