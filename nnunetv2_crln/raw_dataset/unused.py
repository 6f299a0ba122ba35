"""Find what lies in the folders of a raw dataset and is not used by anything; opens no image and no label."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from nnunetv2_crln.errors import listing
from nnunetv2_crln.layout import (
    IMAGES_LABELLED,
    IMAGES_TEST,
    IMAGES_UNLABELLED,
    LABELS_LABELLED,
    LABELS_TEST,
    LABELS_UNLABELLED,
)
from nnunetv2_crln.raw_dataset.cases import find_labelled_cases, find_unlabelled_cases, list_cases
from nnunetv2_crln.raw_dataset.companions import companions_of_image, companions_of_label
from nnunetv2_crln.utilities.names import explain_near_name

# Also what nnU-Net has no reader for, but people keep images in.
_IMAGE_ENDINGS = (
    *(".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".gipl", ".hdr", ".img", ".mgh", ".mgz"),
    *(".dcm", ".ima", ".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg", ".gif"),
    *(".h5", ".hdf5", ".npy", ".npz", ".mat", ".zip", ".tar", ".gz", ".7z", ".rar"),
)


class Kind(Enum):
    """Kinds of unused entries; the value completes a warning: "imagesTr holds 2 …"."""

    MAC = "hidden file(s) that macOS left"
    LINK = "broken link(s)"
    IMAGE = "image(s) under a name or in a format that is not used"
    FOLDER = "folder(s) with images"
    LABEL = "label(s) without an image of that name"
    OTHER = "other file(s) or folder(s)"


@dataclass(frozen=True)
class Unused:
    """One entry of a folder that nothing uses.

    Attributes:
        folder: Folder such as ``imagesUl``.
        name: Name of the entry.
        kind: Kind of the entry.
        hint: Explanation of a name that looks alike and is used; empty without one.
        target: Place that a broken link points to; empty for all others.
    """

    folder: str
    name: str
    kind: Kind
    hint: str = ""
    target: str = ""

    def __str__(self) -> str:
        remark = f"to {self.target}" if self.target else self.hint
        return f"{self.name} ({remark})" if remark else self.name


def find_unused(raw_dataset_folder: str | Path, dataset_json: dict) -> list[Unused]:
    """List all entries of the image and label folders that are not part of a case.

    Args:
        raw_dataset_folder: ``nnUNet_raw/DatasetXXX_Name``.
        dataset_json: Content of dataset.json.

    Returns:
        Entries by folder and name.
    """
    folder = Path(raw_dataset_folder)
    used = _used_files(folder, dataset_json)
    found = []
    for name, paths in used.items():
        known = {path.name for path in paths}
        for entry in sorted(os.scandir(folder / name), key=lambda e: e.name) if (folder / name).is_dir() else []:
            if entry.name not in known or is_broken_link(entry):
                found.append(_describe(name, entry, known, dataset_json["file_ending"]))
    return found


def _used_files(folder: Path, dataset_json: dict) -> dict[str, list[Path]]:
    ending = dataset_json["file_ending"]
    labelled = find_labelled_cases(folder, dataset_json)
    others = {
        (IMAGES_UNLABELLED, LABELS_UNLABELLED): find_unlabelled_cases(folder, dataset_json),
        (IMAGES_TEST, LABELS_TEST): list_cases(folder / IMAGES_TEST, ending),
    }
    images = {IMAGES_LABELLED: [Path(file) for files in labelled.values() for file in files["images"]]}
    labels = {LABELS_LABELLED: [Path(files["label"]) for files in labelled.values()]}
    for (image_folder, label_folder), cases in others.items():
        images[image_folder] = [Path(file) for files in cases.values() for file in files]
        labels[label_folder] = [folder / label_folder / f"{case}{ending}" for case in cases]
    # Files that dataset.json lists may lie anywhere.
    return {
        **{name: _inside(folder / name, files, companions_of_image) for name, files in images.items()},
        **{name: _inside(folder / name, files, _companions(name)) for name, files in labels.items()},
    }


def _companions(folder: str) -> Callable[[Path], list[Path]]:
    return _companions_by_name if folder == LABELS_UNLABELLED else companions_of_label


def _companions_by_name(label: Path) -> list[Path]:
    """Return what may belong to a hidden label; its header, which would tell, stays closed."""
    stem = label.stem
    return [label.with_name(f"{stem}{ending}") for ending in (".json", ".raw", ".zraw", ".raw.gz", ".img", ".img.gz")]


def _inside(folder: Path, files: list[Path], companions: Callable[[Path], list[Path]]) -> list[Path]:
    inside = [file for file in files if file.parent.resolve() == folder.resolve()]
    return inside + [companion for file in inside for companion in companions(file)]


def _describe(folder: str, entry: os.DirEntry, known: set[str], ending: str) -> Unused:
    name = entry.name
    if name.startswith("._") or name in (".DS_Store", "__MACOSX"):
        return Unused(folder, name, Kind.MAC)
    if is_broken_link(entry):
        return Unused(folder, name, Kind.LINK, target=os.readlink(entry.path))
    if entry.is_dir():
        return Unused(folder, f"{name}/", Kind.FOLDER if _holds_images(entry.path) else Kind.OTHER)
    hint = explain_near_name(name, known)
    if folder.startswith("labels") and name.endswith(ending):
        return Unused(folder, name, Kind.LABEL, hint)
    if name.lower().endswith(_IMAGE_ENDINGS):
        return Unused(folder, name, Kind.IMAGE, hint)
    return Unused(folder, name, Kind.OTHER, hint)


def is_broken_link(path: str | os.PathLike) -> bool:
    """Tell whether a path is a link whose target does not exist or cannot be reached."""
    return os.path.islink(path) and not os.path.exists(path)


def _holds_images(folder: str) -> bool:
    return any(name.lower().endswith(_IMAGE_ENDINGS) for _, _, names in os.walk(folder) for name in names)


def describe_unused(raw_dataset_folder: str | Path, unused: list[Unused]) -> Iterator[str]:
    """Yield one warning for each folder and kind.

    Args:
        raw_dataset_folder: ``nnUNet_raw/DatasetXXX_Name``.
        unused: Entries from :func:`find_unused`.

    Yields:
        Warnings that name the first entries.
    """
    groups: dict[tuple[str, Kind], list[Unused]] = {}
    for entry in unused:
        # Hidden files of macOS are one matter, wherever they lie.
        groups.setdefault(("", entry.kind) if entry.kind is Kind.MAC else (entry.folder, entry.kind), []).append(entry)
    for (folder, kind), entries in groups.items():
        place = Path(raw_dataset_folder) / folder
        if kind is Kind.MAC:
            names = listing((f"{entry.folder}/{entry.name}" for entry in entries), 3)
            yield f"{place} holds {len(entries)} {kind.value}: {names}. {how_to_remove_mac_files(place)}"
        else:
            yield f"{place} holds {len(entries)} {kind.value}, not used: {listing(map(str, entries))}. {_FIX[kind]}"


_FIX = {
    Kind.LINK: "Restore their targets, or remove them.",
    Kind.IMAGE: "Rename, convert or remove them.",
    Kind.FOLDER: "Move their images up, one case CASE_0000 with the dataset's file_ending per image, or remove them.",
    Kind.LABEL: "Rename them as their images (without channel number), add the images, or remove them.",
    Kind.OTHER: "Remove them if they belong to a case in another form.",
}


def how_to_remove_mac_files(folder: str | Path) -> str:
    """Return the command that removes the files ``._*`` and ``.DS_Store`` below a folder."""
    return (
        "They hold no image and nobody needs them: remove them with "
        f"find {shlex.quote(str(folder))} -name '._*' -delete -o -name .DS_Store -delete"
    )
