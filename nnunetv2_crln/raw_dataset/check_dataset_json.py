"""Check that dataset.json has what nnU-Net needs, each entry of the right kind."""

from __future__ import annotations

import re
from pathlib import Path

from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.raw_dataset.classes import changed_labels, class_values
from nnunetv2_crln.raw_dataset.dataset_json import read_dataset_json
from nnunetv2_crln.raw_dataset.readers import image_endings

_FROM_VERSION_1 = (
    " It looks like a dataset.json of nnU-Net version 1: nnUNetv2_convert_old_nnUNet_dataset converts such a dataset, "
    "nnUNetv2_convert_MSD_dataset one of the Medical Segmentation Decathlon."
)


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


def refuse_changed_labels(raw_dataset_folder: str | Path, former: dict, former_file: str | Path) -> None:
    """Check that labels of the raw dataset mean the same, and have the same format, as when a model was trained.

    Args:
        raw_dataset_folder: ``nnUNet_raw/DatasetXXX_Name``.
        former: Content of the dataset.json that the model is trained with.
        former_file: Path of that file, for the message.

    Raises:
        UserError: They differ; the message names the entries.
    """
    path = Path(raw_dataset_folder) / "dataset.json"
    present = read_checked_dataset_json(path.parent)
    changes = changed_labels(former, present)
    if former["file_ending"] != present["file_ending"]:
        changes.append(f"file_ending: {former['file_ending']} → {present['file_ending']}")
    if changes:
        raise UserError(
            f"{path} has changed since the model was made whose dataset.json is {former_file}: {listing(changes)}. "
            "Labels by hand and labels by the model would not fit together. Change it back, or plan, preprocess and "
            "train again with the present one."
        )


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
    _check_ending(path, dataset_json["file_ending"])
    _check_regions(path, dataset_json)
    _check_listed_cases(path, dataset_json.get("dataset", {}))


def _check_ending(path: Path, ending: str) -> None:
    """Refuse half of an ending, such as ".gz": the rest would be taken for a part of the case names."""
    known = sorted(known for known in image_endings() if known.endswith(ending))
    if known and ending not in known:
        raise UserError(
            f"{path}: 'file_ending' is {ending!r}, which is only the last part of {' or '.join(map(repr, known))}. "
            "Write the whole ending."
        )


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
        if not _is_listed_case(files):
            raise UserError(
                f"{path}: case {name!r} of 'dataset' is {files!r}; expected {{'images': [files], 'label': file}}. "
                "Correct that entry."
            )


def _is_listed_case(value: object) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("images"), list) or not value["images"]:
        return False
    return all(isinstance(file, str) for file in (*value["images"], value.get("label")))


def _check_regions(path: Path, dataset_json: dict) -> None:
    """Check the entry that regions need, which nnU-Net misses only after the images were read."""
    regions = class_values(dataset_json)
    order = dataset_json.get("regions_class_order")
    if any(len(values) > 1 for values in regions.values()) and not (
        isinstance(order, list) and len(order) == len(regions)
    ):
        raise UserError(
            f"{path}: 'regions_class_order' is {order!r}, but 'labels' has the {len(regions)} regions "
            f"{listing(regions)}. nnU-Net needs one number for each, in this order: the value that a voxel of the "
            "region gets, where later regions overwrite earlier ones. Add or correct the entry."
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
