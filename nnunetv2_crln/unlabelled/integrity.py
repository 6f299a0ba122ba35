"""Checks a raw dataset with unlabelled images before any long work.

:func:`check_dataset` looks at names alone and always runs. :func:`verify_images` opens every image
(``--verify_dataset_integrity``). :func:`find_duplicate_images` finds copies of one image under several names.
Labels are never opened here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.unlabelled.cases import (
    IMAGES_LABELLED,
    IMAGES_TEST,
    Cases,
    files_without_channel,
    find_labelled_cases,
    find_unlabelled_cases,
    list_cases,
    list_files,
    number_of_channels,
    read_dataset_json,
)
from nnunetv2_crln.unlabelled.paths import IMAGES_UNLABELLED, LABELS_UNLABELLED
from nnunetv2_crln.unlabelled.survey import ChannelReport, Survey, image_endings, is_flat, short_name

# A factor between spacings that no scanner protocol explains, but a header in metres or without spacing does.
SPACING_FACTOR = 10


def listing(offenders: Iterable[str], limit: int = 5) -> str:
    """The first few offenders and, if there are more, the total."""
    offenders = list(offenders)
    shown = ", ".join(offenders[:limit])
    return shown if len(offenders) <= limit else f"{shown}, … ({len(offenders)} in total)"


# --- names ------------------------------------------------------------------------------------------------------------


def check_dataset(raw_dataset_folder: str | Path) -> list[str]:
    """Check dataset.json and all file names; opens no image.

    Args:
        raw_dataset_folder: ``nnUNet_raw/DatasetXXX_Name``.

    Returns:
        Warnings for the user.

    Raises:
        UserError: Something would fail or silently go wrong later.
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
    """Cases that dataset.json lists itself: their names become file names and must not leave their folder."""
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
    # Some formats hold all channels in one file (RGB, 4D NIfTI): the labelled cases tell.
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
        (IMAGES_LABELLED, labelled, "A labelled case must not be an unlabelled one too: validation scores would lie"),
        (IMAGES_TEST, test, "Training on test images makes the test scores too good"),
    ):
        shared = sorted(set(unlabelled) & set(cases))
        if shared:
            raise UserError(
                f"{len(shared)} case(s) lie in both {IMAGES_UNLABELLED} and {other} of {folder}: {listing(shared)}. "
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


# --- voxels -----------------------------------------------------------------------------------------------------------


def find_duplicate_images(
    raw_dataset_folder: str | Path, processes: int = 1, show_progress: bool = False
) -> list[list[str]]:
    """Find images that lie in a dataset more than once, also renamed, recompressed or with another data type.

    Args:
        raw_dataset_folder: ``nnUNet_raw/DatasetXXX_Name``; looks into imagesTr, imagesUl and imagesTs.
        processes: Number of processes that read images.
        show_progress: Whether to show a progress bar.

    Returns:
        Groups of two or more cases with equal voxels in all channels, each named ``imagesUl/CASE``. Resampled,
        flipped or otherwise changed copies are not found. Unreadable and constant images are left out.
    """
    return Survey(raw_dataset_folder, processes, show_progress).duplicates()


def leaks(groups: list[list[str]]) -> list[list[str]]:
    """Those groups of :func:`find_duplicate_images` that connect two folders, e.g. a test with an unlabelled image."""
    return [group for group in groups if len({name.split("/")[0] for name in group}) > 1]


def verify_images(raw_dataset_folder: str | Path, processes: int = 1, show_progress: bool = True) -> list[str]:
    """Open every image of a dataset and check it (``--verify_dataset_integrity``).

    Args:
        raw_dataset_folder: ``nnUNet_raw/DatasetXXX_Name``, already through :func:`check_dataset`.
        processes: Number of processes that read images.
        show_progress: Whether to show a progress bar.

    Returns:
        Warnings for the user.

    Raises:
        UserError: All errors found, one paragraph each.
    """
    survey = Survey(raw_dataset_folder, processes, show_progress)
    errors = [*_unreadable(survey), *_broken_voxels(survey), *_broken_geometry(survey), *_leaking(survey)]
    if errors:
        raise UserError(f"{survey.folder} has {len(errors)} kind(s) of error:\n" + "\n".join(f"- {e}" for e in errors))
    return [*_odd_voxels(survey), *_odd_geometry(survey), *_repeated(survey)]


def _unreadable(survey: Survey) -> Iterator[str]:
    if survey.unreadable:
        texts = [f"{name.split('/')[0]}/{error}" for name, error in sorted(survey.unreadable.items())]
        yield f"{len(texts)} unreadable case(s): {listing(texts)}. Copy these files again, or remove the cases."


def _broken_voxels(survey: Survey) -> Iterator[str]:
    infinite = [short_name(r) for reports in survey.reports.values() for r in reports if not r.finite]
    if infinite:
        yield (
            f"{len(infinite)} image(s) with NaN or infinite voxels: {listing(infinite)}. "
            "Replace these voxels, for example by the intensity of air, or remove the cases."
        )
    miscounted = [
        name for name, reports in survey.reports.items() if sum(r.shape[0] for r in reports) != survey.channels
    ]
    if miscounted:
        found = Counter(sum(r.shape[0] for r in survey.reports[name]) for name in miscounted).most_common(1)[0][0]
        yield (
            f"{len(miscounted)} case(s) with another number of channels (mostly {found}) than the {survey.channels} of "
            f"dataset.json: {listing(miscounted)}. Split time series and multi-channel files: one 3D file per channel."
        )


def _broken_geometry(survey: Survey) -> Iterator[str]:
    mismatch = [
        name
        for name, reports in survey.reports.items()
        if not all(r.shape[1:] == reports[0].shape[1:] and np.allclose(r.spacing, reports[0].spacing) for r in reports)
    ]
    if mismatch:
        yield (
            f"{len(mismatch)} case(s) whose channels differ in shape or spacing: {listing(mismatch)}. "
            "Resample all channels of a case to the same grid."
        )
    turned = [
        name
        for name, reports in survey.reports.items()
        # Of other lengths, other numbers of dimensions: an error of its own.
        if any(
            len(report.direction) == len(reports[0].direction)
            and not np.allclose(report.direction, reports[0].direction, atol=1e-2)
            for report in reports
        )
    ]
    if turned:
        yield (
            f"{len(turned)} case(s) whose channels point in different directions: {listing(turned)}. nnU-Net stacks "
            "the voxels as they are: bring all channels of a case into one orientation."
        )
    flat = {is_flat(reports) for reports in survey.of(IMAGES_LABELLED).values()}
    other = [name for name, reports in survey.of(IMAGES_UNLABELLED).items() if flat == {not is_flat(reports)}]
    if other:
        found, expected = ("3D", "2D") if True in flat else ("2D", "3D")
        yield (
            f"{len(other)} {found} image(s) in {IMAGES_UNLABELLED}, although all labelled ones are {expected}: "
            f"{listing(other)}. Convert them to {expected} images, or remove them."
        )
    scaled = [
        f"{name} {_mm(reports[0].spacing)}"
        for name, reports in survey.of(IMAGES_UNLABELLED).items()
        if _spacing_off(survey, reports[0]).all()
    ]
    if scaled:
        yield (
            f"{len(scaled)} unlabelled image(s) with a spacing {SPACING_FACTOR} times off the labelled ones in every "
            f"axis (labelled median {_mm(_median_spacing(survey))}): {listing(scaled)}. Their headers probably use "
            "another unit or lost the spacing: correct the headers."
        )


def _leaking(survey: Survey) -> Iterator[str]:
    groups = [" = ".join(group) for group in leaks(survey.duplicates())]
    if groups:
        yield (
            f"{len(groups)} image(s) lie in several folders, maybe under other names: {listing(groups)}. "
            "Scores on such cases would be too good: keep each image in one folder only."
        )


def _odd_voxels(survey: Survey) -> Iterator[str]:
    constant = [short_name(report) for reports in survey.reports.values() for report in reports if report.constant]
    if constant:
        yield f"{len(constant)} constant image(s), nothing can be learned from them: {listing(constant)}."


def _odd_geometry(survey: Survey) -> Iterator[str]:
    moved = [
        name
        for name, reports in survey.reports.items()
        if not all(np.allclose(report.placement, reports[0].placement, atol=1e-3) for report in reports)
    ]
    if moved:
        yield (
            f"{len(moved)} case(s) whose channels differ in origin or direction: {listing(moved)}. nnU-Net ignores "
            "that and stacks the voxels: make sure that the channels cover each other."
        )
    odd = [
        f"{name} {_mm(reports[0].spacing)}"
        for name, reports in survey.of(IMAGES_UNLABELLED).items()
        if _spacing_off(survey, reports[0]).any()
    ]
    if odd:
        yield (
            f"{len(odd)} unlabelled image(s) with an axis whose spacing is {SPACING_FACTOR} times off the labelled "
            f"ones (labelled median {_mm(_median_spacing(survey))}): {listing(odd)}. Check their headers."
        )


def _repeated(survey: Survey) -> Iterator[str]:
    groups = [" = ".join(group) for group in survey.duplicates()]
    if groups:
        yield f"{len(groups)} image(s) lie in one folder more than once: {listing(groups)}."


def _median_spacing(survey: Survey) -> np.ndarray:
    return np.median([reports[0].spacing for reports in survey.of(IMAGES_LABELLED).values()], axis=0)


def _spacing_off(survey: Survey, report: ChannelReport) -> np.ndarray:
    """Per axis: further than the factor outside the range of the labelled spacings."""
    labelled = np.array([reports[0].spacing for reports in survey.of(IMAGES_LABELLED).values()])
    # Images with several values per voxel come with a spacing of two axes; their number of channels is the error.
    if labelled.shape[1:] != (len(report.spacing),):
        return np.zeros(len(report.spacing), dtype=bool)
    spacing = np.array(report.spacing)
    # A hair of tolerance: 0.1 is not exactly a tenth of 1.
    factor = SPACING_FACTOR * (1 - 1e-6)
    return (spacing >= labelled.max(0) * factor) | (spacing <= labelled.min(0) / factor)


def _mm(spacing: Iterable[float]) -> str:
    return "(" + " × ".join(f"{value:.4g}" for value in spacing) + " mm)"
