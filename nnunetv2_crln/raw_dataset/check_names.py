"""Check the file names of a raw dataset against its dataset.json, without opening images or labels."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.layout import (
    IMAGES_LABELLED,
    IMAGES_TEST,
    IMAGES_UNLABELLED,
    LABELS_LABELLED,
    LABELS_TEST,
    LABELS_UNLABELLED,
)
from nnunetv2_crln.raw_dataset.annotated_labels import annotated_labels
from nnunetv2_crln.raw_dataset.cases import (
    Cases,
    files_without_channel,
    find_labelled_cases,
    find_unlabelled_cases,
    list_cases,
    list_files,
    number_of_channels,
)
from nnunetv2_crln.raw_dataset.check_dataset_json import read_checked_dataset_json
from nnunetv2_crln.raw_dataset.companions import spacing_file
from nnunetv2_crln.raw_dataset.unlabelled_groups import unlabelled_groups
from nnunetv2_crln.raw_dataset.unused import (
    Kind,
    Unused,
    describe_unused,
    find_unused,
    how_to_remove_mac_files,
    is_broken_link,
)
from nnunetv2_crln.utilities.advice import ways_to_unlabelled_cases
from nnunetv2_crln.utilities.names import explain_near_name

RESERVED_ENDING = "_seg"
"""Ending that no case name may have: nnU-Net writes the mask of case ``p`` as ``p_seg.b2nd`` beside the images."""

# Where a broken link means a case that silently takes no part.
_NEEDED = (IMAGES_LABELLED, LABELS_LABELLED, IMAGES_UNLABELLED)
COMPARED = (*_NEEDED, IMAGES_TEST)
"""Folders with which new scans are compared: an image behind a broken link would not be recognised."""


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
    dataset_json = read_checked_dataset_json(folder)
    labelled = find_labelled_cases(folder, dataset_json)
    unused = find_unused(folder, dataset_json)
    refuse_broken_links(folder, unused)
    _check_what_nnunet_would_take(folder, dataset_json)
    _check_labelled(folder, dataset_json, labelled, unused)
    partly = bool(annotated_labels(dataset_json, list(labelled))) or "ignore" in dataset_json["labels"]
    unlabelled = _require_unlabelled(folder, dataset_json, unused, partly)
    _check_reserved_names(folder, {IMAGES_LABELLED: labelled, IMAGES_UNLABELLED: unlabelled})
    _check_channel_files(folder, dataset_json, labelled, {IMAGES_UNLABELLED: unlabelled})
    _check_shared_names(folder, dataset_json, labelled, unlabelled)
    unlabelled_groups(dataset_json, list(unlabelled))
    suspicious = _suspicious_labels(folder, dataset_json, unlabelled)
    rest = [entry for entry in unused if not (entry.folder == LABELS_LABELLED and entry.name in suspicious)]
    return [
        *_warn_of_labels_of_unlabelled_cases(folder, suspicious),
        *_missing_spacing_files(folder, labelled, unlabelled),
        *describe_unused(folder, rest),
    ]


def refuse_incomplete_cases(raw_dataset_folder: str | Path, dataset_json: dict) -> None:
    """Refuse a dataset of which cases or files would silently be left out when a new one is made of it.

    Args:
        raw_dataset_folder: ``nnUNet_raw/DatasetXXX_Name``; unlike for a training, it need not have unlabelled images.
        dataset_json: Content of dataset.json, already checked.

    Raises:
        UserError: Links are broken, files are missing or have names that are not used, or numTraining is wrong.
    """
    folder = Path(raw_dataset_folder)
    labelled = find_labelled_cases(folder, dataset_json)
    unused = find_unused(folder, dataset_json)
    refuse_broken_links(folder, unused, (*COMPARED, LABELS_TEST, LABELS_UNLABELLED))
    _check_what_nnunet_would_take(folder, dataset_json)
    _check_labelled(folder, dataset_json, labelled, unused)
    for name in (IMAGES_UNLABELLED, IMAGES_TEST):
        _refuse_unused_images(folder / name, dataset_json["file_ending"], unused)
    others = {
        IMAGES_UNLABELLED: find_unlabelled_cases(folder, dataset_json),
        IMAGES_TEST: list_cases(folder / IMAGES_TEST, dataset_json["file_ending"]),
    }
    for images, labels in ((IMAGES_UNLABELLED, LABELS_UNLABELLED), (IMAGES_TEST, LABELS_TEST)):
        _refuse_unused_labels(folder / labels, others[images], dataset_json["file_ending"], unused)
    _check_channel_files(folder, dataset_json, labelled, others)


def refuse_broken_links(folder: Path, unused: list[Unused], names: Collection[str] = _NEEDED) -> None:
    """Refuse links that lead nowhere: to nnU-Net and to us their cases would not exist.

    Args:
        folder: ``nnUNet_raw/DatasetXXX_Name``.
        unused: Entries from :func:`find_unused`.
        names: Folders in which no link may be broken; they may be links themselves.

    Raises:
        UserError: Links are broken; the message names them and their targets.
    """
    links = [(name, os.readlink(folder / name)) for name in names if is_broken_link(folder / name)]
    links += [(f"{e.folder}/{e.name}", e.target) for e in unused if e.kind is Kind.LINK and e.folder in names]
    if links:
        texts = [f"{link} → {target}" for link, target in links]
        raise UserError(
            f"{folder} has {len(links)} broken link(s): {listing(texts, 3)}. Their targets were moved or "
            "removed, or lie on a disk that is not mounted: bring them back, or remove the links and add the scans "
            "again (nnUNetv2_crln_add_unlabelled and nnUNetv2_crln_hide_labels make such links, or copies with --copy)."
        )


def _refuse_unused_images(images: Path, ending: str, unused: list[Unused]) -> None:
    """Refuse images of a folder that take no part because of their name, place or format."""
    _refuse_names_without_channel(images, ending)
    ignored = [entry for entry in unused if entry.folder == images.name]
    if foreign := [str(entry) for entry in ignored if entry.kind in (Kind.IMAGE, Kind.FOLDER)]:
        kind = "test" if images.name == IMAGES_TEST else "unlabelled"
        raise UserError(
            f"{images} has {len(foreign)} image(s) or folder(s) in another place or in another format than "
            f"CASE_0000{ending} (file_ending of dataset.json): {listing(foreign)}. They would be left out of the "
            f"{kind} cases: rename or convert them, move images out of folders, or remove them."
        )


def _refuse_unused_labels(labels: Path, cases: Cases, ending: str, unused: list[Unused]) -> None:
    """Refuse unused labels beside images without one: they may belong together, and the label would be left out."""
    foreign = [entry for entry in unused if entry.folder == labels.name and entry.kind in (Kind.IMAGE, Kind.LABEL)]
    without = [case for case in cases if not (labels / f"{case}{ending}").is_file()]
    if foreign and without:
        raise UserError(
            f"{labels} has {len(foreign)} file(s) that are no image's label: {listing(map(str, foreign))}. And "
            f"{len(without)} image(s) have no label: {listing(without)}. If these belong together, rename or convert "
            f"the labels (CASE{ending}), or they would be left out; if not, remove them."
        )


def _refuse_names_without_channel(images: Path, ending: str) -> None:
    if unnamed := files_without_channel(images, ending):
        raise UserError(
            f"{images} has {len(unnamed)} file(s) without a channel number: {listing(unnamed)}. "
            f"{_rename(unnamed[0], ending)}"
        )


def _check_what_nnunet_would_take(folder: Path, dataset_json: dict) -> None:
    """Refuse names in imagesTr that nnU-Net takes for cases, although they are none: it lists them by ending alone."""
    images, ending = folder / IMAGES_LABELLED, dataset_json["file_ending"]
    if "dataset" in dataset_json or not images.is_dir():
        return
    hidden = sorted(e.name for e in images.iterdir() if e.name.startswith(".") and e.name.endswith(ending))
    if hidden:
        raise UserError(
            f"{images} has {len(hidden)} hidden file(s) that nnU-Net takes for images: {listing(hidden, 3)}. "
            f"{how_to_remove_mac_files(folder) if hidden[0].startswith('._') else 'Remove them.'}"
        )
    _refuse_names_without_channel(images, ending)


def _rename(name: str, ending: str) -> str:
    return f"Expected CASE_0000{ending}. Rename them, for example {name} to {name.removesuffix(ending)}_0000{ending}."


def _missing_spacing_files(folder: Path, labelled: dict[str, dict], unlabelled: Cases) -> list[str]:
    """Warn of TIFF files without spacing among others with one: nnU-Net takes 1 mm for them."""
    expected = [path for files in labelled.values() for path in _spacing_files(files["images"], files["label"])]
    expected += [path for files in unlabelled.values() for path in _spacing_files(files)]
    missing = [f"{path.parent.name}/{path.name}" for path in dict.fromkeys(expected) if not path.is_file()]
    if not missing or len(missing) == len(set(expected)):
        return []
    return [
        f"{len(missing)} spacing file(s) are missing beside TIFF images and labels of {folder}, while others are "
        f'there: {listing(missing)}. nnU-Net takes 1 mm for each axis of these: add {{"spacing": [Z, Y, X]}}.'
    ]


def _spacing_files(images: list[str], label: str | None = None) -> list[Path]:
    files = [spacing_file(images[0], is_label=False)] + ([spacing_file(label, is_label=True)] if label else [])
    return [path for path in files if path is not None]


def _check_labelled(folder: Path, dataset_json: dict, labelled: dict[str, dict], unused: list[Unused]) -> None:
    ending = dataset_json["file_ending"]
    if not labelled:
        raise UserError(
            f"{folder / IMAGES_LABELLED} has no image named CASE_0000{ending}. "
            "CRLN needs labelled cases too: put their images into imagesTr and their labels into labelsTr."
            f"{_not_used(unused, IMAGES_LABELLED)}"
        )
    absent = [file for files in labelled.values() for file in files["images"] if not Path(file).is_file()]
    if absent:  # images are listed in dataset.json; others are found by their names
        raise UserError(
            f"{folder / 'dataset.json'}: 'dataset' lists {len(absent)} image(s) that do not exist: {listing(absent)}. "
            "Correct these paths, or add the images."
        )
    without_label = [case for case, files in labelled.items() if not Path(files["label"]).is_file()]
    if without_label:
        names = {entry.name for entry in unused if entry.folder == LABELS_LABELLED}
        hints = {case: explain_near_name(f"{case}{ending}", names) for case in without_label}
        cases = [f"{case} ({hint})" if hint else case for case, hint in hints.items()]
        raise UserError(
            f"{folder / IMAGES_LABELLED} has {len(without_label)} case(s) without a label in labelsTr: "
            f"{listing(cases)}. Move the images of unlabelled cases to {IMAGES_UNLABELLED} "
            "(and lower numTraining in dataset.json), or add the labels."
        )
    if dataset_json["numTraining"] != len(labelled):
        raise UserError(
            f"{folder / 'dataset.json'} says numTraining {dataset_json['numTraining']}, but there are {len(labelled)} "
            f"labelled cases. It counts labelled cases only: set it to {len(labelled)}, or add the missing cases."
            f"{_not_used(unused, IMAGES_LABELLED)}"
        )


def _not_used(unused: list[Unused], folder: str) -> str:
    """Return a sentence on the images of a folder that are there under other names."""
    names = [str(entry) for entry in unused if entry.folder == folder and entry.kind in (Kind.IMAGE, Kind.FOLDER)]
    return f" Not used there: {listing(names)}." if names else ""


def _require_unlabelled(folder: Path, dataset_json: dict, unused: list[Unused], partly_labelled: bool) -> Cases:
    images = folder / IMAGES_UNLABELLED
    ending = dataset_json["file_ending"]
    how = (
        f"CRLN trains on unlabelled images too, named like those of imagesTr (CASE_0000{ending}, one file per "
        f"channel). {ways_to_unlabelled_cases(folder.name)}. Or use nnU-Net alone: nnUNetv2_plan_and_preprocess works "
        "with this dataset as it is."
    )
    if partly_labelled and not list_files(images):
        return {}  # voxels of labelled cases that have no label are the unlabelled ones
    if not images.is_dir():
        near = explain_near_name(IMAGES_UNLABELLED, (entry.name for entry in folder.iterdir()))
        raise UserError(f"{images} does not exist{f' ({near})' if near else ''}. {how}")
    _refuse_unused_images(images, ending, unused)
    cases = find_unlabelled_cases(folder, dataset_json)
    if not cases:
        raise UserError(f"{images} has no image ending with {ending!r}. {how}")
    return cases


def _check_reserved_names(folder: Path, cases: dict[str, Collection[str]]) -> None:
    """Refuse case names that make nnU-Net overwrite the mask of another case and overlook this one."""
    if reserved := [f"{name}/{case}" for name in cases for case in cases[name] if case.endswith(RESERVED_ENDING)]:
        raise UserError(
            f"{folder} has {len(reserved)} case(s) whose names end in {RESERVED_ENDING}: {listing(reserved)}. nnU-Net "
            "reserves this ending for the masks of preprocessed cases. Rename their images and labels, or remove them "
            "if they are masks."
        )


def _check_channel_files(folder: Path, dataset_json: dict, labelled: dict[str, dict], others: dict[str, Cases]) -> None:
    images = {case: files["images"] for case, files in labelled.items()}
    channels = files_a_case(dataset_json, images)
    folders = dict(others)
    if "dataset" not in dataset_json:
        folders[IMAGES_LABELLED] = images
    elif wrong := [case for case, files in images.items() if len(files) != channels]:  # files have names of their own
        raise UserError(
            f"{folder / 'dataset.json'}: 'dataset' does not list exactly {channels} channel file(s) for each case: "
            f"{listing(wrong)}. Correct these entries."
        )
    for name, cases in folders.items():
        if wrong := wrong_channels(cases, channels, dataset_json["file_ending"]):
            raise UserError(
                f"{folder / name} does not hold exactly {channels} channel file(s) per case, as dataset.json "
                f"and imagesTr do: {listing(wrong)}. Add the missing files, or remove the case or the surplus files."
            )


def files_a_case(dataset_json: dict, labelled: Cases) -> int:
    """Find out how many channel files each case must have.

    Args:
        dataset_json: Content of dataset.json.
        labelled: Labelled cases; some formats hold all channels in one file (RGB, 4D NIfTI), which they show.

    Returns:
        Number of files.
    """
    return 1 if {len(files) for files in labelled.values()} == {1} else number_of_channels(dataset_json)


def wrong_channels(cases: Cases, channels: int, ending: str) -> list[str]:
    """List channel files that cases lack, or have too many.

    Args:
        cases: Files of the cases.
        channels: Number of files of each case.
        ending: Entry of dataset.json.

    Returns:
        File names with what is wrong.
    """
    wrong = []
    for case, files in cases.items():
        names = {Path(file).name for file in files}
        expected = {f"{case}_{channel:04d}{ending}" for channel in range(channels)}
        wrong += [f"{name} (missing)" for name in sorted(expected - names)]
        wrong += [f"{name} (too many)" for name in sorted(names - expected)]
    return wrong


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
    names = set(list_files(folder / LABELS_LABELLED))
    ending = dataset_json["file_ending"]
    return [f"{case}{ending}" for case in unlabelled if f"{case}{ending}" in names]


def _warn_of_labels_of_unlabelled_cases(folder: Path, labels: list[str]) -> list[str]:
    if not labels:
        return []
    return [
        f"labelsTr of {folder} has labels of {len(labels)} unlabelled case(s): {listing(labels)}. They are not used. "
        f"Move them to {LABELS_UNLABELLED} to keep them hidden, or the images to {IMAGES_LABELLED} to train on them."
    ]
