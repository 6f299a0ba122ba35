"""Read JSON as nnU-Net does, and write it atomically; NaN, which JSON lacks, becomes ``null`` and back."""

import codecs
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.utilities.files import finished_file, write_text

_BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "UTF-8", codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


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
    write_text(path, json.dumps(nan_to_null(content), indent=2, allow_nan=False) + "\n")


def nan_to_null(value: Any) -> Any:
    """Replace every NaN in nested mappings and sequences by None, which JSON writes as ``null``."""
    if isinstance(value, Mapping):
        return {key: nan_to_null(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [nan_to_null(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def null_to_nan(value: Any) -> Any:
    """Replace every None in nested dictionaries and lists by NaN, the reverse of :func:`nan_to_null`."""
    if isinstance(value, dict):
        return {key: null_to_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [null_to_nan(item) for item in value]
    return math.nan if value is None else value
