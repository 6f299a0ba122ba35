"""Write evaluations to files and read them back."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.utilities.files import write_text


def save_summary(summary: Mapping, path: str | Path) -> None:
    """Write an evaluation as JSON; undefined numbers (NaN) become ``null``, because JSON has no NaN.

    Args:
        summary: Evaluation to write.
        path: File to write.

    Raises:
        UserError: The file cannot be written.
    """
    write_text(path, json.dumps(_nan_to_none(summary), indent=2, allow_nan=False) + "\n")


def load_summary(path: str | Path) -> dict:
    """Read a file of :func:`save_summary`; ``null`` becomes NaN.

    Raises:
        UserError: The file cannot be read or was not written by this package.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot read the evaluation {path}: {error}. Run nnUNetv2_crln_evaluate again.") from None
    if not isinstance(content, dict) or "format_version" not in content:
        raise UserError(f'{path} was not written by nnUNetv2_crln_evaluate (no "format_version"). Choose another file.')
    return _none_to_nan(content)


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
