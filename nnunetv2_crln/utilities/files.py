"""Write files atomically: a file is either the old or the new one, never half of it."""

from __future__ import annotations

import csv
import glob
import io
import os
import stat
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nnunetv2_crln.errors import UserError

_BEGINNING = 1 << 16
_HEX_DIGITS = "[0-9a-f]" * 8
"""Glob pattern of what :func:`temporary_beside` puts before a name."""


@contextmanager
def finished_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, and rename it to ``path`` once its content is on the disk.

    Args:
        path: Final name. An existing file stays until the new one is complete.

    Yields:
        The temporary path to write to. It is removed if the body raises.
    """
    path = Path(path)
    temporary = temporary_beside(path)
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
    except OSError as error:
        # When the disk is full, the error carries no file name; add it while it is known.
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Wait until a file is on the disk. Windows flushes only files that are open for writing."""
    if not os.access(path, os.W_OK):  # the copy of a file that may only be read
        path.chmod(path.stat().st_mode | stat.S_IWUSR)
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def temporary_beside(path: Path) -> Path:
    """Return a new hidden name in the same folder, for what is renamed to ``path`` once it is finished."""
    # The file ending stays last, because SimpleITK derives the format from it.
    return path.with_name(f".{uuid.uuid4().hex[:8]}_{path.name}")


def leftovers_of(path: Path) -> list[Path]:
    """Return what has a name of :func:`temporary_beside` for this path, in use or left behind by a killed process."""
    return sorted(path.parent.glob(f".{_HEX_DIGITS}_{glob.escape(path.name)}"))


def remove_leftovers(folder: str | Path) -> list[str]:
    """Remove the temporary files of :func:`finished_file` that a killed process left behind.

    Args:
        folder: Folder to clean up, with all folders in it. No other process may be writing to it.

    Returns:
        The removed files, relative to the folder.
    """
    leftovers = sorted(path for path in Path(folder).rglob(f".{_HEX_DIGITS}_*") if path.is_file() or path.is_symlink())
    for path in leftovers:
        path.unlink(missing_ok=True)
    return [path.relative_to(folder).as_posix() for path in leftovers]


def write_text(path: str | Path, text: str) -> None:
    """Write a text file completely or not at all, and create its folder.

    Args:
        path: File to write.
        text: Content of the file.

    Raises:
        UserError: The file cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with finished_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise _cannot_write(path, error) from None


def refuse_unwritable(path: str | Path) -> None:
    """Check that a file can be written, before the long work whose result it will hold; its folder is created.

    Args:
        path: File to write later; an existing one stays as it is.

    Raises:
        UserError: The file cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise _cannot_write(path, error) from None


def refuse_to_replace(path: str | Path, mark: str, command: str) -> None:
    """Refuse to overwrite what the same command has not written, such as an image that was named by mistake.

    Args:
        path: File to write later; nothing need be there.
        mark: Text near the beginning of every file that the command writes there.
        command: Name of the command, for the message.

    Raises:
        UserError: There is a file without the mark, or something that is no file.
    """
    path = Path(path)
    if not os.path.lexists(path):
        return
    try:
        with path.open("rb") as file:
            ours = mark.encode() in file.read(_BEGINNING)
    except OSError:
        ours = False
    if not ours:
        raise UserError(
            f"{path} exists and was not written by {command}, which would overwrite it. Choose another name with -o, "
            "or move it away."
        )


def _cannot_write(path: Path, error: OSError) -> UserError:
    return UserError(
        f"Cannot write {path} ({error.strerror}). Check permissions and free disk space, or choose another place."
    )


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Format rows as CSV, one line each.

    Example:
        >>> print(csv_text([["case", "reason"], ["a", "small, dark"]]), end="")
        case,reason
        a,"small, dark"
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
