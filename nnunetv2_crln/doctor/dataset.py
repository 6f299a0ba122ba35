"""Examine a dataset: its raw files, its split, its preprocessed data, and how labelled and unlabelled cases differ."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunetv2_crln.doctor.finding import NOTE, OK, PROBLEM, WARNING, Finding, as_findings
from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.layout import dataset_number, unlabelled_folder

if TYPE_CHECKING:
    from nnunetv2_crln.raw_dataset.folders import DatasetFolders


def examine_dataset(dataset_id: int, processes: int = 1) -> list[Finding]:
    """Check the folders and files of one dataset, search for repeated images, and check the preprocessed data.

    Args:
        dataset_id: Number in ``DatasetXXX_Name``.
        processes: Number of processes that read images.

    Returns:
        Findings, in the order of the checks.
    """
    findings = list(as_findings(_dataset, dataset_id, processes))
    # One mistake in dataset.json is met by several checks, each under its own name; such errors have no other fix.
    keys = [f.found if f.state == PROBLEM and not f.fix else f for f in findings]
    return [finding for place, finding in enumerate(findings) if keys[place] not in keys[:place]]


def _dataset(dataset_id: int, processes: int) -> Iterator[Finding]:
    # Imported here, as nnU-Net everywhere in the doctor: a broken installation must not end it.
    from nnunetv2_crln.raw_dataset.cases import find_labelled_cases
    from nnunetv2_crln.raw_dataset.check_dataset_json import read_checked_dataset_json
    from nnunetv2_crln.raw_dataset.folders import find_dataset

    folders = find_dataset(dataset_id)
    labelled = find_labelled_cases(folders.raw, read_checked_dataset_json(folders.raw))
    yield from as_findings(_files, folders, processes)
    if labelled:  # the other checks need one, to find out how the images must be read
        for check in (_images, _labels, _hidden_labels, _split, _preprocessed, _domain_shift):
            yield from as_findings(check, folders, processes)


def _files(folders: DatasetFolders, _: int) -> Iterator[Finding]:
    from nnunetv2_crln.raw_dataset.cases import find_labelled_cases, find_unlabelled_cases
    from nnunetv2_crln.raw_dataset.check_names import check_dataset

    raw = folders.raw
    for warning in check_dataset(raw):
        yield Finding(WARNING, raw.name, warning)
    labelled, unlabelled = len(find_labelled_cases(raw)), len(find_unlabelled_cases(raw))
    yield Finding(OK, raw.name, f"{labelled} labelled and {unlabelled} unlabelled cases")


def _images(folders: DatasetFolders, processes: int) -> Iterator[Finding]:
    from nnunetv2_crln.raw_dataset.check_images import image_faults, image_oddities, leaks
    from nnunetv2_crln.raw_dataset.survey import Survey

    survey = Survey(folders.raw, processes, show_progress=False)
    for text in image_faults(survey):
        yield Finding(PROBLEM, "images", text)
    for text in image_oddities(survey):
        yield Finding(WARNING, "images", text)
    groups = survey.duplicates()
    leaking = leaks(groups)
    for group in leaking:
        yield Finding(PROBLEM, "same image", " = ".join(group), "Keep it in one folder, or results mean nothing.")
    for group in groups:
        if group not in leaking:
            yield Finding(WARNING, "same image", " = ".join(group), "Keep one: copies count twice in training.")
    if not groups:
        yield Finding(OK, "same images", "none in imagesTr, imagesUl and imagesTs")


def _labels(folders: DatasetFolders, processes: int) -> Iterator[Finding]:
    from nnunetv2_crln.raw_dataset.check_labels import verify_labels

    for text in verify_labels(folders.raw, processes, show_progress=False):
        yield Finding(WARNING, "labels", text)


def _hidden_labels(folders: DatasetFolders, processes: int) -> Iterator[Finding]:
    from nnunetv2_crln.raw_dataset.check_hidden_labels import verify_hidden_labels

    for text in verify_hidden_labels(folders.raw, processes, show_progress=False):
        yield Finding(WARNING, "hidden labels", text)


def _split(folders: DatasetFolders, _: int) -> Iterator[Finding]:
    from nnunetv2_crln.preprocessed_dataset.splits import (
        cases_of_other_folds,
        read_splits,
        unused_cases,
        validated_on_training_cases,
    )
    from nnunetv2_crln.raw_dataset.cases import find_labelled_cases

    cases = list(find_labelled_cases(folders.raw))
    if unused := unused_cases(folders.preprocessed, cases):
        yield Finding(WARNING, "split", unused)
    for text in cases_of_other_folds(folders.preprocessed, cases):
        yield Finding(NOTE, "split", text)
    for fold, split in enumerate(read_splits(folders.preprocessed)):
        if text := validated_on_training_cases(folders.preprocessed, fold, split["train"], split["val"]):
            yield Finding(WARNING, "split", text)


def _preprocessed(folders: DatasetFolders, _: int) -> Iterator[Finding]:
    from nnunetv2_crln.preprocessed_dataset.plans import check_plans
    from nnunetv2_crln.utilities.advice import PREPROCESS, command_line
    from nnunetv2_crln.utilities.json_files import read_json

    found = False
    for path in sorted(folders.preprocessed.glob("*.json")):
        try:
            plans = read_json(path)
        except ValueError as error:
            yield Finding(PROBLEM, path.name, f"{path} is not valid JSON: {error}", "Correct or remove the file.")
            continue
        if not isinstance(plans, dict) or "plans_name" not in plans:
            continue
        found = True
        try:
            check_plans(plans, path)
        except UserError as error:
            yield Finding(PROBLEM, path.name, str(error))
            continue
        yield from _plans(folders, plans, path.stem)
    if not found:
        command = command_line(PREPROCESS, "-d", dataset_number(folders.name))
        yield Finding(NOTE, "plans", f"none in {folders.preprocessed}", command)


def _plans(folders: DatasetFolders, plans: dict, name: str) -> Iterator[Finding]:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from nnunetv2_crln.preprocessed_dataset.image_changes import changes_since_preprocessing
    from nnunetv2_crln.preprocessed_dataset.labelled_status import unprocessed_labelled
    from nnunetv2_crln.preprocessed_dataset.plans import check_plans, is_second_stage

    manager = PlansManager(plans)
    for configuration in manager.available_configurations:
        try:
            check_plans(plans, folders.preprocessed / f"{name}.json", configuration)
        except UserError as error:
            yield Finding(PROBLEM, f"{name} {configuration}", str(error))
            continue
        if not is_second_stage(plans, configuration):
            yield _configuration(folders.preprocessed, manager, configuration, name)
            yield from _damaged_files(folders.preprocessed, manager, configuration, name)
            texts = unprocessed_labelled(folders, manager, [configuration])
            for text in [*texts, *changes_since_preprocessing(folders, manager, configuration)]:
                yield Finding(PROBLEM, f"{name} {configuration}", text)


def _damaged_files(folder: Path, manager: Any, configuration: str, plans: str) -> Iterator[Finding]:
    """Find files that a full disk or an interrupted copy has truncated, which would end a training."""
    from nnunetv2_crln.preprocessed_dataset.case_files import damaged_cases
    from nnunetv2_crln.preprocessed_dataset.commands import labelled_folder
    from nnunetv2_crln.utilities.advice import preprocess_labelled_command, preprocess_unlabelled_command

    labelled = labelled_folder(folder, manager, configuration)
    for place, command in (
        (labelled, preprocess_labelled_command),
        (unlabelled_folder(folder, labelled.name), preprocess_unlabelled_command),
    ):
        if damaged := damaged_cases(place):
            again = command(manager.dataset_name, [configuration], plans)
            yield Finding(
                PROBLEM,
                f"{plans} {configuration}",
                f"{len(damaged)} case(s) with a damaged or missing file in {place}: {listing(damaged)}",
                f"Remove the files of these cases, then run: {again}",
            )


def _configuration(folder: Path, manager: Any, configuration: str, plans: str) -> Finding:
    from nnunetv2_crln.preprocessed_dataset.labelled_status import require_labelled_data
    from nnunetv2_crln.preprocessed_dataset.unlabelled_status import unlabelled_status
    from nnunetv2_crln.settings import CRLNSettings
    from nnunetv2_crln.utilities.advice import preprocess_labelled_command, preprocess_unlabelled_command

    name = f"{plans} {configuration}"
    entry = manager.get_configuration(configuration)
    try:
        CRLNSettings.from_plans(entry.configuration)
    except UserError as error:
        return Finding(PROBLEM, name, str(error), f"Correct it in {folder / plans}.json.")
    labelled = folder / entry.data_identifier
    is_labelled = labelled.is_dir() and any(labelled.iterdir())
    command = preprocess_unlabelled_command(manager.dataset_name, [configuration], plans)
    if not is_labelled:
        first = preprocess_labelled_command(manager.dataset_name, [configuration], plans)
        return Finding(NOTE, name, "not preprocessed; to train it, two commands", f"{first} && {command}")
    try:
        require_labelled_data(labelled, manager, configuration)
    except UserError as error:
        return Finding(PROBLEM, name, str(error))
    try:
        status = unlabelled_status(folder, manager, configuration)
    except UserError:
        return Finding(PROBLEM, name, "labelled cases are preprocessed, unlabelled ones are not", command)
    if status.stale or status.missing:
        found = f"{len(status.ready)} ready, {len(status.stale)} of other plans, {len(status.missing)} missing"
        return Finding(PROBLEM, name, found, command)
    return Finding(OK, name, f"{len(status.ready)} unlabelled cases ready")


def _domain_shift(folders: DatasetFolders, _: int) -> Iterator[Finding]:
    """Compare labelled and unlabelled cases as the first preprocessed configuration holds them."""
    from nnunetv2_crln.evaluation.domain_shift import compare_datasets
    from nnunetv2_crln.raw_dataset.dataset_json import read_dataset_json
    from nnunetv2_crln.raw_dataset.unlabelled_groups import ALL, unlabelled_groups

    if (pair := next(_preprocessed_pairs(folders), None)) is None:
        return
    labelled, unlabelled, axes = pair
    groups = unlabelled_groups(read_dataset_json(folders.raw), unlabelled.identifiers)
    groups = groups or {ALL: list(unlabelled.identifiers)}
    for shift in compare_datasets(labelled, unlabelled, groups, axes):
        yield Finding(
            WARNING if shift.far else NOTE if shift.unusual or shift.too_few else OK,
            "domain shift",
            shift.describe(),
            "Pseudo labels of such cases may be wrong: annotate a few of them, or leave them out." if shift.far else "",
        )


def _preprocessed_pairs(folders: DatasetFolders) -> Iterator[tuple[Any, Any, list[int]]]:
    """Yield labelled cases, unlabelled cases and order of axes of each preprocessed configuration, 3d_fullres first."""
    from nnunetv2_crln.preprocessed_dataset.formats import dataset_in

    transpose_forward = dict(_transposed(folders.preprocessed))
    for folder in sorted(folders.preprocessed.glob("*"), key=lambda path: ("3d_fullres" not in path.name, path.name)):
        if folder.name not in transpose_forward:
            continue
        labelled, unlabelled = dataset_in(folder), dataset_in(unlabelled_folder(folders.preprocessed, folder.name))
        if labelled is not None and unlabelled is not None:
            yield labelled, unlabelled, transpose_forward[folder.name]


def _transposed(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """Yield the name of each folder of preprocessed data in the plans, and the files' axes in the order of its axes."""
    from nnunetv2_crln.preprocessed_dataset.plans import read_checked_plans

    for path in sorted(folder.glob("*.json")):
        try:
            plans = read_checked_plans(path)
        except UserError:  # another file, or damaged plans, which another check names
            continue
        for configuration in plans["configurations"].values():
            if "data_identifier" in configuration:
                yield configuration["data_identifier"], plans["transpose_forward"]
