"""Write files atomically: a file is either the old or the new one, never half of it."""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import os
import stat
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nnunetv2_crln.errors import UserError

_HEX_DIGITS = "[0-9a-f]" * 8
"""Glob pattern of what :func:`temporary_beside` puts before a name."""
_BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "UTF-8", codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


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
        # On a full disk the call that writes knows no name. An error that is a text alone would lose it.
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


def _cannot_write(path: Path, error: OSError) -> UserError:
    return UserError(
        f"Cannot write {path} ({error.strerror}). Check permissions and free disk space, or choose another place."
    )


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: It is not JSON as nnU-Net reads it; a byte order mark, which editors hide, is named.
    """
    content = Path(path).read_bytes()
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            raise ValueError(
                f"it starts with a byte order mark ({encoding}), which nnU-Net cannot read; save it as UTF-8 without "
                "byte order mark (in Notepad: Save as, encoding UTF-8)"
            )
    return json.loads(content.decode("utf-8"))


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


def read_users_json(path: str | Path, way_out: str) -> Any:
    """Read a JSON file that a user may have edited.

    Args:
        path: File to read.
        way_out: What to do if the file is damaged; a sentence of the error.

    Returns:
        Its content.

    Raises:
        UserError: The file is not valid JSON.
        OSError: It cannot be read.
    """
    try:
        return read_json(path)
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}. {way_out}") from None


def write_json(content: Any, path: str | Path) -> None:
    """Write a JSON file in nnU-Net's format; a killed process leaves the previous file intact.

    Args:
        content: Anything that JSON can represent.
        path: File to write; its folder must exist.
    """
    with finished_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")


def write_json_with_nulls(content: Mapping, path: str | Path) -> None:
    """Write results as JSON and create their folder; NaN becomes ``null``, because JSON has no NaN.

    Args:
        content: Anything that JSON can represent, and NaN.
        path: File to write.

    Raises:
        UserError: The file cannot be written.
    """
    write_text(path, json.dumps(_nan_to_none(content), indent=2, allow_nan=False) + "\n")


def _nan_to_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _nan_to_none(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_nan_to_none(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
