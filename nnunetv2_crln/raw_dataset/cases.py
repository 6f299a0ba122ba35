"""Find the cases of a raw dataset by file name, without opening images or labels."""

from __future__ import annotations

import copy
import re
from collections import defaultdict
from pathlib import Path

from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

from nnunetv2_crln.layout import IMAGES_LABELLED, IMAGES_TEST, IMAGES_UNLABELLED, LABELS_LABELLED
from nnunetv2_crln.raw_dataset.companions import companions_of_image, companions_of_label
from nnunetv2_crln.raw_dataset.dataset_json import read_dataset_json

Cases = dict[str, list[str]]
"""Paths of the channel files of each case, by case identifier; both sorted."""


def list_cases(folder: str | Path, file_ending: str) -> Cases:
    """List the cases of one image folder, whose files are named ``CASE_0000.ext``, ``CASE_0001.ext`` and so on.

    Args:
        folder: Image folder, for example ``imagesUl``; it may be missing.
        file_ending: Entry of dataset.json, for example ``.nii.gz``.

    Returns:
        The cases. Files with other names are left out (:func:`files_without_channel` finds them).
    """
    pattern = re.compile(r"(.+)_\d{4}" + re.escape(file_ending))
    cases = defaultdict(list)
    for name in list_files(folder):
        if match := pattern.fullmatch(name):
            cases[match.group(1)].append(str(Path(folder) / name))
    return dict(sorted(cases.items()))


def files_without_channel(folder: str | Path, file_ending: str) -> list[str]:
    """List files that lack the four digits of the channel; nnU-Net would cut off a part of their names.

    Args:
        folder: Image folder; it may be missing.
        file_ending: Entry of dataset.json; files with other endings are left out.

    Returns:
        Sorted file names.
    """
    pattern = re.compile(r".+_\d{4}" + re.escape(file_ending))
    return [name for name in list_files(folder) if name.endswith(file_ending) and not pattern.fullmatch(name)]


def list_files(folder: str | Path) -> list[str]:
    """Return the sorted names of a folder's visible files; an empty list if the folder is missing."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith(".") and entry.is_file())


def find_unlabelled_cases(raw_dataset_folder: str | Path, dataset_json: dict | None = None) -> Cases:
    """Find the unlabelled cases of a raw dataset.

    Args:
        raw_dataset_folder: ``nnUNet_raw/DatasetXXX_Name``.
        dataset_json: Content of dataset.json; read if not given.

    Returns:
        The cases of ``imagesUl``.
    """
    dataset_json = dataset_json or read_dataset_json(raw_dataset_folder)
    return list_cases(Path(raw_dataset_folder) / IMAGES_UNLABELLED, dataset_json["file_ending"])


def find_labelled_cases(raw_dataset_folder: str | Path, dataset_json: dict | None = None) -> dict[str, dict]:
    """Find the labelled cases as nnU-Net does.

    Args:
        raw_dataset_folder: ``nnUNet_raw/DatasetXXX_Name``.
        dataset_json: Content of dataset.json; read if not given. It may list the files itself (key "dataset").

    Returns:
        ``{"images": [...], "label": ...}`` of each case, by case identifier.
    """
    folder = Path(raw_dataset_folder)
    dataset_json = dataset_json or read_dataset_json(folder)
    if "dataset" in dataset_json:
        # A copy, because nnU-Net writes absolute paths into what it is given.
        return get_filenames_of_train_images_and_targets(str(folder), copy.deepcopy(dataset_json))
    ending = dataset_json["file_ending"]
    return {
        case: {"images": files, "label": str(folder / LABELS_LABELLED / f"{case}{ending}")}
        for case, files in list_cases(folder / IMAGES_LABELLED, ending).items()
    }


def labelled_images(raw_dataset_folder: str | Path, dataset_json: dict) -> Cases:
    """Return the image files of the labelled cases.

    Args:
        raw_dataset_folder: ``nnUNet_raw/DatasetXXX_Name``.
        dataset_json: Content of dataset.json.

    Returns:
        Files by case.
    """
    return {case: files["images"] for case, files in find_labelled_cases(raw_dataset_folder, dataset_json).items()}


def all_images(raw_dataset_folder: str | Path, dataset_json: dict) -> Cases:
    """Return the image files of all labelled, unlabelled and test cases.

    Args:
        raw_dataset_folder: ``nnUNet_raw/DatasetXXX_Name``.
        dataset_json: Content of dataset.json.

    Returns:
        Files by folder and case, such as ``imagesTr/CASE``.
    """
    folder = Path(raw_dataset_folder)
    sets = {
        IMAGES_LABELLED: labelled_images(folder, dataset_json),
        IMAGES_UNLABELLED: find_unlabelled_cases(folder, dataset_json),
        IMAGES_TEST: list_cases(folder / IMAGES_TEST, dataset_json["file_ending"]),
    }
    return {f"{name}/{case}": files for name, cases in sets.items() for case, files in cases.items()}


def first_image(cases: Cases) -> str:
    """Return the first file of the first case, as an example for what is equal in all of them."""
    return next(iter(cases.values()))[0]


def number_of_channels(dataset_json: dict) -> int:
    """Return the number of image channels in dataset.json."""
    return len(dataset_json["channel_names"] if "channel_names" in dataset_json else dataset_json["modality"])


def channel_name(dataset_json: dict, channel: int) -> str:
    """Look up the name of an image channel.

    Args:
        dataset_json: Content of dataset.json.
        channel: Number of the channel.

    Returns:
        The name; empty if it has none.
    """
    names = dataset_json["channel_names"] if "channel_names" in dataset_json else dataset_json["modality"]
    return str(names.get(str(channel), ""))


def source_record(files: list[str], label: str | None = None) -> dict[str, list[int]]:
    """Note size in bytes and modification time in ns of each file: enough to see that a case was replaced or corrected.

    Args:
        files: Channel files of a case; what nnU-Net reads beside them (spacing of TIFF files) is added.
        label: Label file of a labelled case.

    Returns:
        Size and time of each file, by its name.
    """
    paths = [path for file in files for path in (Path(file), *companions_of_image(file))]
    record = {path.name: _stamp(path) for path in paths}
    if label is not None:
        # Image and label may have companions of one name, in two folders.
        own = (Path(label), *companions_of_label(label))
        record |= {
            f"{path.parent.name}/{path.name}" if path.name in record else path.name: _stamp(path) for path in own
        }
    return record


def _stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]
