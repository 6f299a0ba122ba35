"""Read the files of evaluations."""

import json
from pathlib import Path

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.utilities.json_files import null_to_nan

SUMMARY_MARK = '"predictions_folder": '
"""Text near the beginning of every evaluation, by which it is told from other JSON files."""


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
    return null_to_nan(content)
