"""Check dataset.json and the file names of a raw dataset, without opening images or labels."""

from __future__ import annotations

import re
from pathlib import Path

from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.layout import IMAGES_LABELLED, IMAGES_TEST, IMAGES_UNLABELLED, LABELS_UNLABELLED
from nnunetv2_crln.raw_dataset.cases import (
    Cases,
    files_without_channel,
    find_labelled_cases,
    find_unlabelled_cases,
    list_cases,
    list_files,
    number_of_channels,
)
from nnunetv2_crln.raw_dataset.dataset_json import read_dataset_json
from nnunetv2_crln.raw_dataset.survey import image_endings


def check_dataset(raw_dataset_folder: str | Path) -> list[str]:
    """Check dataset.json and all file names without opening an image.

    Args:
        raw_dataset_folder: ``nnUNet_raw/DatasetXXX_Name``.

    Returns:
        Warnings for the user.

    Raises:
        UserError: An entry or a file name would make a later step fail or silently go wrong.
    """
    folder = Path(raw_dataset_folder)
    dataset_json = read_dataset_json(folder)
    _check_dataset_json(folder / "dataset.json", dataset_json)
    labelled = find_labelled_cases(folder, dataset_json)
    _check_labelled(folder, dataset_json, labelled)
    unlabelled = _require_unlabelled(folder, dataset_json)
    _check_channel_files(folder, dataset_json, labelled, unlabelled)
    _check_shared_names(folder, dataset_json, labelled, unlabelled)
    return _suspicious_labels(folder, dataset_json, unlabelled)


def _check_dataset_json(path: Path, dataset_json: dict) -> None:
    if not isinstance(dataset_json, dict):
        raise UserError(f"{path} holds a {type(dataset_json).__name__}; expected an object with keys like numTraining.")
    channels = "modality" if "modality" in dataset_json and "channel_names" not in dataset_json else "channel_names"
    required = ("labels", channels, "numTraining", "file_ending")
    missing = [key for key in required if key not in dataset_json]
    if missing:
        raise UserError(f"{path} has no {listing(missing)}; nnU-Net needs {', '.join(required)}. Add what is missing.")
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


def _check_labelled(folder: Path, dataset_json: dict, labelled: dict[str, dict]) -> None:
    if not labelled:
        raise UserError(
            f"{folder / IMAGES_LABELLED} has no image named CASE_0000{dataset_json['file_ending']}. "
            "CRLN needs labelled cases too: put their images into imagesTr and their labels into labelsTr."
        )
    without_label = [case for case, files in labelled.items() if not Path(files["label"]).is_file()]
    if without_label:
        raise UserError(
            f"{folder / IMAGES_LABELLED} has {len(without_label)} case(s) without a label in labelsTr: "
            f"{listing(without_label)}. Move the images of unlabelled cases to {IMAGES_UNLABELLED} "
            "(and lower numTraining in dataset.json), or add the labels."
        )
    if dataset_json["numTraining"] != len(labelled):
        raise UserError(
            f"{folder / 'dataset.json'} says numTraining {dataset_json['numTraining']}, but there are {len(labelled)} "
            f"labelled cases. It counts labelled cases only: set it to {len(labelled)}, or add the missing cases."
        )


def _require_unlabelled(folder: Path, dataset_json: dict) -> Cases:
    images = folder / IMAGES_UNLABELLED
    ending = dataset_json["file_ending"]
    how = (
        f"CRLN trains on unlabelled images too: put them into {images}, named like those of imagesTr "
        f"(CASE_0000{ending}, one file per channel). "
        "Without unlabelled images use nnU-Net alone: nnUNetv2_plan_and_preprocess works with this dataset."
    )
    if not images.is_dir():
        raise UserError(f"{images} does not exist. {how}")
    unnamed = files_without_channel(images, ending)
    if unnamed:
        raise UserError(
            f"{images} has {len(unnamed)} file(s) without a channel number: {listing(unnamed)}. "
            f"Expected CASE_0000{ending}. Rename them, for example {unnamed[0]} to "
            f"{unnamed[0].removesuffix(ending)}_0000{ending}."
        )
    foreign = [name for name in list_files(images) if not name.endswith(ending) and name.endswith(image_endings())]
    if foreign:
        raise UserError(
            f"{images} has {len(foreign)} image(s) in another format than dataset.json's file_ending {ending!r}: "
            f"{listing(foreign)}. They would be ignored: convert or remove them."
        )
    cases = find_unlabelled_cases(folder, dataset_json)
    if not cases:
        raise UserError(f"{images} has no image ending with {ending!r}. {how}")
    return cases


def _check_channel_files(folder: Path, dataset_json: dict, labelled: dict[str, dict], unlabelled: Cases) -> None:
    channels = number_of_channels(dataset_json)
    # Some formats hold all channels in one file (RGB, 4D NIfTI): follow the labelled cases.
    if {len(files["images"]) for files in labelled.values()} == {1}:
        channels = 1
    ending = dataset_json["file_ending"]
    wrong = []
    for case, files in unlabelled.items():
        names = {Path(file).name for file in files}
        expected = {f"{case}_{channel:04d}{ending}" for channel in range(channels)}
        wrong += [f"{name} (missing)" for name in sorted(expected - names)]
        wrong += [f"{name} (too many)" for name in sorted(names - expected)]
    if wrong:
        raise UserError(
            f"{folder / IMAGES_UNLABELLED} does not hold exactly {channels} channel file(s) per case, as dataset.json "
            f"and imagesTr do: {listing(wrong)}. Add the missing files, or remove the case or the surplus files."
        )


def _check_shared_names(folder: Path, dataset_json: dict, labelled: dict[str, dict], unlabelled: Cases) -> None:
    test = list_cases(folder / IMAGES_TEST, dataset_json["file_ending"])
    for other, cases, harm in (
        (
            IMAGES_LABELLED,
            labelled,
            "A labelled case must not be an unlabelled one too: validation scores would mislead",
        ),
        (IMAGES_TEST, test, "Training on test images makes the test scores too good"),
    ):
        shared = sorted(set(unlabelled) & set(cases))
        if shared:
            raise UserError(
                f"{len(shared)} case(s) are in both {IMAGES_UNLABELLED} and {other} of {folder}: {listing(shared)}. "
                f"{harm}. Remove them from one of the two, or rename them if they are different patients."
            )


def _suspicious_labels(folder: Path, dataset_json: dict, unlabelled: Cases) -> list[str]:
    names = set(list_files(folder / "labelsTr"))
    found = [case for case in unlabelled if f"{case}{dataset_json['file_ending']}" in names]
    if not found:
        return []
    return [
        f"labelsTr of {folder} has labels of {len(found)} unlabelled case(s): {listing(found)}. They are not used. "
        f"Move them to {LABELS_UNLABELLED} to keep them hidden, or the images to {IMAGES_LABELLED} to train on them."
    ]
