"""Finds the cases of a raw dataset by file name; opens no image and no label."""

from __future__ import annotations

import copy
import re
from collections import defaultdict
from pathlib import Path

from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

from nnunetv2_crln.layout import IMAGES_UNLABELLED
from nnunetv2_crln.raw_dataset.dataset_json import read_dataset_json

Cases = dict[str, list[str]]
"""Case id to the paths of its channel files, both sorted."""


def list_cases(folder: str | Path, file_ending: str) -> Cases:
    """The cases of one image folder, named ``CASE_0000.ext``, ``CASE_0001.ext`` and so on.

    Args:
        folder: For example ``imagesUl``; may be missing.
        file_ending: Of dataset.json, for example ``.nii.gz``.

    Returns:
        The cases; files with other names are left out (:func:`files_without_channel` finds them).
    """
    pattern = re.compile(r"(.+)_\d{4}" + re.escape(file_ending))
    cases = defaultdict(list)
    for name in list_files(folder):
        if match := pattern.fullmatch(name):
            cases[match.group(1)].append(str(Path(folder) / name))
    return dict(sorted(cases.items()))


def files_without_channel(folder: str | Path, file_ending: str) -> list[str]:
    """Names with the right ending, but without the four digits of the channel: nnU-Net would cut off a part of them."""
    pattern = re.compile(r".+_\d{4}" + re.escape(file_ending))
    return [name for name in list_files(folder) if name.endswith(file_ending) and not pattern.fullmatch(name)]


def list_files(folder: str | Path) -> list[str]:
    """Sorted names of the visible files of a folder; none if it is missing."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith(".") and entry.is_file())


def find_unlabelled_cases(raw_dataset_folder: str | Path, dataset_json: dict | None = None) -> Cases:
    """The unlabelled cases of a raw dataset.

    Args:
        raw_dataset_folder: ``nnUNet_raw/DatasetXXX_Name``.
        dataset_json: Its dataset.json; read if not given.
    """
    dataset_json = dataset_json or read_dataset_json(raw_dataset_folder)
    return list_cases(Path(raw_dataset_folder) / IMAGES_UNLABELLED, dataset_json["file_ending"])


def find_labelled_cases(raw_dataset_folder: str | Path, dataset_json: dict | None = None) -> dict[str, dict]:
    """The labelled cases as nnU-Net sees them: case id to ``{"images": [...], "label": ...}``.

    Args:
        raw_dataset_folder: ``nnUNet_raw/DatasetXXX_Name``.
        dataset_json: Its dataset.json; read if not given. It may list the files itself (key "dataset").
    """
    folder = Path(raw_dataset_folder)
    dataset_json = dataset_json or read_dataset_json(folder)
    if "dataset" in dataset_json:
        # A copy, because nnU-Net writes absolute paths into what it is given.
        return get_filenames_of_train_images_and_targets(str(folder), copy.deepcopy(dataset_json))
    ending = dataset_json["file_ending"]
    return {
        case: {"images": files, "label": str(folder / "labelsTr" / f"{case}{ending}")}
        for case, files in list_cases(folder / "imagesTr", ending).items()
    }


def number_of_channels(dataset_json: dict) -> int:
    """Number of image channels dataset.json names."""
    return len(dataset_json["channel_names"] if "channel_names" in dataset_json else dataset_json["modality"])


def source_record(files: list[str]) -> dict[str, list[int]]:
    """Size in bytes and modification time in ns of each file: enough to see that a case was replaced or corrected."""
    return {Path(file).name: [(stat := Path(file).stat()).st_size, stat.st_mtime_ns] for file in files}
