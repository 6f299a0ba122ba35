"""Write evaluations to disk and read them back."""

import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2_crln.errors import UserError


def save_summary(summary: Mapping, path: str | Path) -> None:
    """Write an evaluation as JSON. Undefined numbers (NaN) become ``null``: NaN is no JSON, and browsers refuse it.

    Raises:
        UserError: The file cannot be written.
    """
    write_text(path, json.dumps(_nan_to_none(summary), indent=2, allow_nan=False) + "\n")


def load_summary(path: str | Path) -> dict:
    """Read what :func:`save_summary` wrote, with NaN where it wrote ``null``.

    Raises:
        UserError: The file cannot be read or was not written by this package.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot read the evaluation {path}: {error}. Run nnUNetv2_crln_evaluate again.") from None
    if not isinstance(content, dict) or "format_version" not in content:
        raise UserError(f"{path} is no evaluation of nnUNetv2_crln_evaluate (no format_version). Name another file.")
    return _none_to_nan(content)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file as a whole or not at all; an existing file stays until the new one is on the disk.

    Raises:
        UserError: The file cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise UserError(f"Cannot write {path} ({error.strerror}). Choose another place with -o.") from None
    try:
        with open(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's files are private, results are read by colleagues
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"Cannot write {path} ({error.strerror}). Choose another place with -o.") from None
    finally:
        Path(temporary).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _nan_to_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _nan_to_none(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_nan_to_none(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _none_to_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _none_to_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_none_to_nan(item) for item in value]
    return float("nan") if value is None else value
