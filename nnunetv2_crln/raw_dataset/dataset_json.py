"""Read and check dataset.json, nnU-Net's description of a raw dataset."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.layout import DATASET_RECORD
from nnunetv2_crln.utilities.files import read_users_json

_FROM_VERSION_1 = (
    " It looks like a dataset.json of nnU-Net version 1: nnUNetv2_convert_old_nnUNet_dataset converts such a dataset, "
    "nnUNetv2_convert_MSD_dataset one of the Medical Segmentation Decathlon."
)


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


def read_checked_dataset_json(raw_dataset_folder: str | Path) -> dict:
    """Read a dataset.json and check that what nnU-Net needs is there and of the right kind.

    Args:
        raw_dataset_folder: ``nnUNet_raw/DatasetXXX_Name``.

    Returns:
        Its content.

    Raises:
        UserError: The file is missing or damaged, or entries are missing or wrong; the message names them.
    """
    path = Path(raw_dataset_folder) / "dataset.json"
    dataset_json = read_dataset_json(path)
    _check_dataset_json(path, dataset_json)
    return dataset_json


def _check_dataset_json(path: Path, dataset_json: dict) -> None:
    channels = "modality" if "modality" in dataset_json and "channel_names" not in dataset_json else "channel_names"
    required = ("labels", channels, "numTraining", "file_ending")
    missing = [key for key in required if key not in dataset_json]
    if missing:
        version_1 = {"file_ending", "channel_names"}.isdisjoint(dataset_json) and "modality" in dataset_json
        raise UserError(
            f"{path} has no {listing(missing)}; nnU-Net needs {', '.join(required)}. Add what is missing."
            f"{_FROM_VERSION_1 if version_1 else ''}"
        )
    expected = {
        "labels": (_is_label_map(dataset_json["labels"]), 'names to numbers, such as {"background": 0, "heart": 1}'),
        channels: (_is_channel_map(dataset_json[channels]), 'numbers to names, such as {"0": "CT"}'),
        "numTraining": (_is_count(dataset_json["numTraining"]), "the number of labelled cases, an integer above 0"),
        "file_ending": (_is_ending(dataset_json["file_ending"]), 'a text such as ".nii.gz", with the leading dot'),
    }
    for key, (valid, text) in expected.items():
        if not valid:
            raise UserError(f"{path}: {key!r} is {dataset_json[key]!r}; expected {text}. Correct that entry.")
    _check_listed_cases(path, dataset_json.get("dataset", {}))


def _check_listed_cases(path: Path, listed: object) -> None:
    """Check the cases that dataset.json lists itself: their names become file names and must not leave their folder."""
    if not isinstance(listed, dict):
        raise UserError(f"{path}: 'dataset' is a {type(listed).__name__}; expected cases with images and label.")
    if unsafe := [name for name in listed if name in ("", ".", "..") or re.search(r"[/\\:]", name)]:
        raise UserError(
            f"{path}: 'dataset' names {listing(map(repr, unsafe))}. Case names become file names: rename these "
            "without slash, backslash and colon."
        )
    for name, files in listed.items():
        if not isinstance(files, dict) or not isinstance(files.get("images"), list) or "label" not in files:
            raise UserError(
                f"{path}: case {name!r} of 'dataset' is {files!r}; expected {{'images': [files], 'label': file}}. "
                "Correct that entry."
            )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_ending(value: object) -> bool:
    return isinstance(value, str) and value.startswith(".")


def _is_channel_map(value: object) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(name, str) for name in value.values())


def _is_label_map(value: object) -> bool:
    if not isinstance(value, dict) or "background" not in value:
        return False
    numbers = [number for entry in value.values() for number in (entry if isinstance(entry, list) else [entry])]
    return all(isinstance(number, int) and not isinstance(number, bool) for number in numbers)


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
