"""Read the files of evaluations."""

import json
from pathlib import Path
from typing import Any

from nnunetv2_crln.errors import UserError


def load_summary(path: str | Path) -> dict:
    """Read an evaluation that ``write_json_with_nulls`` has written; ``null`` becomes NaN.

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


def _none_to_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _none_to_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_none_to_nan(item) for item in value]
    return float("nan") if value is None else value
