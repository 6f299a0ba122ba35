"""Move a file into another folder, which may lie on another disk."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from nnunetv2_crln.layout import IMAGES_LABELLED, IMAGES_UNLABELLED, LABELS_LABELLED
from nnunetv2_crln.utilities.files import finished_file, remove_leftovers, temporary_beside


def move_file(source: Path, target: Path) -> None:
    """Move a file or a link; an interrupted move leaves it in the old place or in both, never half of it.

    Args:
        source: File to move. A link stays a link and still leads to its file.
        target: New path; a file that is there is replaced.

    Raises:
        OSError: The file cannot be moved.
    """
    link = _link_text(source, target) if source.is_symlink() else None
    if link is None or link == os.readlink(source):
        try:
            os.replace(source, target)
            return
        except OSError as error:
            # imagesUl or imagesTr may be a link to another disk, and files cannot be renamed across disks.
            if error.errno != errno.EXDEV:
                raise
    if link is None:
        with finished_file(target) as temporary:
            shutil.copy2(source, temporary)  # with its time, by which a changed case is recognised
    else:
        # Without finished_file, which would follow the link and open a file of the user for writing.
        temporary = temporary_beside(target)
        temporary.symlink_to(link)
        os.replace(temporary, target)
    source.unlink()


def remove_unfinished_files(raw_dataset_folder: Path) -> None:
    """Remove what a killed command left of files that it moved or wrote; the caller holds the lock of the dataset."""
    folder = raw_dataset_folder
    # The folders of images and labels may be links, which a search from above does not follow.
    for place in (folder, *(folder / name for name in (IMAGES_LABELLED, LABELS_LABELLED, IMAGES_UNLABELLED))):
        remove_leftovers(place)


def _link_text(source: Path, target: Path) -> str:
    """Return where a link must point to from its new place; the same text where that leads to the same file."""
    text = os.readlink(source)
    old, new = os.path.realpath(source.parent), os.path.realpath(target.parent)
    if os.path.realpath(os.path.join(old, text)) == os.path.realpath(os.path.join(new, text)):
        return text
    return os.path.relpath(os.path.join(old, text), new)
