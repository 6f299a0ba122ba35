"""Read dataset.json, nnU-Net's description of a raw dataset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import DATASET_RECORD
from nnunetv2_crln.utilities.json_files import read_users_json


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
        content = read_users_json(path, "Correct the file.")
    except OSError as error:
        raise UserError(
            f"Cannot read {path} ({error.strerror}). A raw dataset needs a dataset.json: add one, see "
            "https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md."
        ) from None
    if not isinstance(content, dict):
        found = type(content).__name__
        raise UserError(f"{path} holds a {found}; expected an object with keys like numTraining. Correct the file.")
    return content


def required_entry(dataset_json: Mapping, key: str) -> Any:
    """Return an entry that every dataset.json of nnU-Net v2 has.

    Args:
        dataset_json: Content of the file.
        key: Name of the entry.

    Returns:
        Its value.

    Raises:
        UserError: The entry is missing.
    """
    if key not in dataset_json:
        raise UserError(
            f"dataset.json has no entry {key!r}, only {sorted(dataset_json)}. "
            f"nnU-Net v2 needs it: add it, or name the right file."
        )
    return dataset_json[key]


def record_entry(dataset_json: Mapping[str, Any], key: str) -> Any:
    """Look up an entry of the ``"crln"`` block of dataset.json.

    Args:
        dataset_json: Content of dataset.json.
        key: Name of the entry.

    Returns:
        The entry as it is written there; None if there is none.
    """
    block = dataset_json.get(DATASET_RECORD)
    return block.get(key) if isinstance(block, Mapping) else None


def record_error(key: str, text: str) -> UserError:
    """Make the error about an entry of the ``"crln"`` block of dataset.json.

    Args:
        key: Name of the entry.
        text: What is wrong with it and the way out; a missing full stop is added.

    Returns:
        The error, to be raised.
    """
    stop = "" if text.endswith(("?", ".")) else "."
    return UserError(f'dataset.json, "{DATASET_RECORD}" block: "{key}" {text}{stop}')
