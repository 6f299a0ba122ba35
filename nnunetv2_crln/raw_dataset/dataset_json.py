"""Read dataset.json, nnU-Net's description of a raw dataset."""

from __future__ import annotations

from pathlib import Path

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.utilities.files import read_json


def read_dataset_json(path: str | Path) -> dict:
    """Read a dataset.json.

    Args:
        path: The file or its folder.

    Returns:
        Its content.

    Raises:
        UserError: The file is missing or does not contain a JSON object.
    """
    path = Path(path) / "dataset.json" if Path(path).is_dir() else Path(path)
    try:
        content = read_json(path)
    except OSError as error:
        raise UserError(
            f"Cannot read {path} ({error.strerror}). A raw dataset needs a dataset.json; "
            "see https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md."
        ) from None
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}. Correct the file.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}; expected an object with keys like numTraining.")
    return content
