"""Say why a file cannot be read: readers often name a consequence, not the cause."""

from __future__ import annotations

import errno
import os
import textwrap
from pathlib import Path

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.raw_dataset.companions import check_spacing_file, spacing_file
from nnunetv2_crln.utilities.nifti import find_header_fault

_LONGEST_REASON = 160
_GZIP = b"\x1f\x8b"
_STARTS = {
    b"\x00\x05\x16\x07": 'it is a companion file that macOS writes (named "._…"), not an image: remove it',
    b"version https://git-lfs": "it is a Git LFS pointer, not the image itself: run git lfs pull",
    b"<!doctype html": "it is a web page, not an image: the download went wrong, repeat it",
    b"<html": "it is a web page, not an image: the download went wrong, repeat it",
}


def explain_read_error(file: str | Path, error: Exception, is_label: bool = False) -> str:
    """Return the cause of an error of an image reader, in the words of the person who has the file.

    Args:
        file: File that could not be read.
        error: Error of the reader.
        is_label: The file is a label; only then its spacing file has its full name.

    Returns:
        Reason in one sentence, with the way out where it is known.
    """
    file = Path(file)
    if isinstance(error, UserError):
        return str(error)
    if not str(error):  # nnU-Net's readers print what they found, and raise nothing but a type
        error = RuntimeError("nnU-Net's reader refuses it; do its channels differ in shape or spacing?")
    reason = last_line(error)
    if os.strerror(errno.ENOENT) in reason and file.is_file():  # the last error of the system, whatever that was
        reason = "it is truncated or damaged: copy it again"
    return _content_fault(file) or _spacing_fault(file, is_label) or find_header_fault(file) or reason


def last_line(error: BaseException) -> str:
    """Return the last line of a message: ITK puts a place in its source code and the file name before the reason."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return textwrap.shorten(lines[-1], _LONGEST_REASON) if lines else type(error).__name__


def _content_fault(file: Path) -> str | None:
    try:
        with file.open("rb") as opened:
            start = opened.read(32)
    except FileNotFoundError as error:
        return f"{error.strerror}: correct its name or path, or restore the target of a link"
    except OSError as error:
        return f"{error.strerror}: check its permissions"
    if not start:
        return "it is empty: copy it again"
    for mark, text in _STARTS.items():
        if start.lower().startswith(mark):
            return text
    if file.name.endswith(".gz") and not start.startswith(_GZIP):
        return "it is not compressed, although its name ends in .gz: copy it again, or compress it with gzip"
    if file.name.endswith(".nii") and start.startswith(_GZIP):
        return "it is compressed, although its name does not end in .gz: rename or decompress it"
    return None


def _spacing_fault(file: Path, is_label: bool) -> str | None:
    path = spacing_file(file, is_label)
    if path is None or not path.is_file():
        return None
    try:
        check_spacing_file(path)
    except UserError as error:
        return str(error)
    return None
