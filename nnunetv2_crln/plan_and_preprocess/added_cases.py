"""Add new cases to a dataset that is already planned and preprocessed, without planning again."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.layout import unlabelled_folder, unlabelled_info_file
from nnunetv2_crln.plan_and_preprocess.unlabelled_cases import preprocess_unlabelled
from nnunetv2_crln.plan_and_preprocess.written_cases import inspect_labelled_case
from nnunetv2_crln.preprocessed_dataset.case_files import put_in_place
from nnunetv2_crln.preprocessed_dataset.commands import labelled_command, labelled_folder, unlabelled_command
from nnunetv2_crln.preprocessed_dataset.dataset_json_copy import update_dataset_json_copy
from nnunetv2_crln.preprocessed_dataset.labelled_status import preprocessed_otherwise
from nnunetv2_crln.preprocessed_dataset.plan_key import plan_key
from nnunetv2_crln.preprocessed_dataset.plans import plans_identifier, plans_in
from nnunetv2_crln.raw_dataset.cases import number_of_channels
from nnunetv2_crln.raw_dataset.classes import all_values
from nnunetv2_crln.raw_dataset.folders import DatasetFolders
from nnunetv2_crln.utilities.files import leftovers_of, temporary_beside
from nnunetv2_crln.utilities.json_files import read_json
from nnunetv2_crln.utilities.parallel import run_all
from nnunetv2_crln.utilities.print_warnings import print_warnings


@dataclass(frozen=True)
class PreprocessedData:
    """Folder of preprocessed labelled cases.

    Attributes:
        plans_manager: nnU-Net's plans with which it was made.
        configuration: Name of a configuration that uses it.
        folder: ``nnUNet_preprocessed/DatasetXXX_Name/<data_identifier>``.
    """

    plans_manager: PlansManager
    configuration: str
    folder: Path


def preprocessed_data(folders: DatasetFolders) -> list[PreprocessedData]:
    """Find the preprocessed data of a dataset.

    Args:
        folders: Folders of the dataset.

    Returns:
        One entry for each folder of preprocessed labelled cases.

    Raises:
        UserError: A plans file is damaged, or it is unknown with which of several plans a folder was made.
    """
    found: dict[Path, list[PreprocessedData]] = {}
    for _, plans in plans_in(folders.preprocessed):
        plans_manager = PlansManager(plans)
        for configuration in plans_manager.available_configurations:
            folder = labelled_folder(folders.preprocessed, plans_manager, configuration)
            if folder.is_dir():
                found.setdefault(folder, []).append(PreprocessedData(plans_manager, configuration, folder))
    return [_made_with(candidates) for candidates in found.values()]


def _made_with(candidates: list[PreprocessedData]) -> PreprocessedData:
    """Choose among plans that share a folder (all ResEnc planners do) those that its cases were made with."""
    fitting = [c for c in candidates if not preprocessed_otherwise(c.folder, c.plans_manager, c.configuration)]
    candidates = fitting or candidates
    if len(candidates) == 1:
        return candidates[0]
    keys = [
        plan_key(each.plans_manager, each.plans_manager.get_configuration(each.configuration)) for each in candidates
    ]
    if len(set(keys)) == 1:
        return candidates[0]
    folder = candidates[0].folder
    info = unlabelled_info_file(unlabelled_folder(folder.parent, folder.name))
    recorded = read_json(info)["plan_key"] if info.is_file() else None
    if recorded in keys:
        return candidates[keys.index(recorded)]
    names = dict.fromkeys(plans_identifier(folder.parent, each.plans_manager.plans) for each in candidates)
    raise UserError(
        f"{folder} belongs to several plans that preprocess differently: {listing(names)}. None of them is recorded as "
        "those that its cases were made with. Move the outdated plans to another folder and run the command again."
    )


def preprocess_added_unlabelled(
    folders: DatasetFolders, present: list[PreprocessedData], processes: int, show_progress: bool = True
) -> None:
    """Preprocess new unlabelled cases for everything the dataset is already preprocessed for.

    Args:
        folders: Folders of the dataset.
        present: Result of :func:`preprocessed_data`.
        processes: Number of processes.
        show_progress: Show progress bars.

    Raises:
        UserError: Cases could not be preprocessed (reported after all others are done).
    """
    failed = []
    update_dataset_json_copy(folders)
    for data in present:
        unlabelled = unlabelled_folder(folders.preprocessed, data.folder.name)
        if not unlabelled_info_file(unlabelled).is_file():
            command = unlabelled_command(folders.preprocessed, data.plans_manager, data.configuration)
            print(f"{data.folder.name}: no unlabelled case is preprocessed yet. Next: {command}")
            continue
        result = preprocess_unlabelled(
            folders.raw,
            folders.preprocessed,
            data.plans_manager,
            data.configuration,
            processes,
            show_progress=show_progress,
        )
        print(result.describe(data.folder.name))
        failed += [f"{case} ({data.configuration}): {text}" for case, text in sorted(result.failed.items())]
    if failed:
        for text in failed:
            print(f"Failed: {text}", file=sys.stderr)
        raise UserError(
            f"{len(failed)} unlabelled case(s) could not be preprocessed: {listing(failed)}. Do what the texts "
            "say, or replace images that cannot be read, and run the command again; all others are kept."
        )


def preprocess_added_labelled(
    data: PreprocessedData, cases: dict[str, dict], dataset_json: dict, processes: int, show_progress: bool = True
) -> None:
    """Preprocess some labelled cases as nnU-Net does, without touching the others.

    The caller holds the lock of the folder, so that unfinished cases in it are those of a killed run: they are removed.

    Args:
        data: Folder for the preprocessed cases.
        cases: ``{"images": [...], "label": ...}`` by case identifier.
        dataset_json: Content of the raw dataset's dataset.json.
        processes: Number of processes.
        show_progress: Show a progress bar.

    Raises:
        UserError: Cases could not be preprocessed or are unusable afterwards (reported after all others are done).
    """
    target = data.folder / "labelled"
    for leftover in leftovers_of(target):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary = temporary_beside(target)
    temporary.mkdir()
    tasks = {
        case: (case, files, data.folder, temporary, data.plans_manager.plans, data.configuration, dataset_json)
        for case, files in cases.items()
    }
    description = f"Preprocessing labelled cases ({data.configuration})"
    try:
        oddities, errors = run_all(preprocess_labelled_case, tasks, processes, description, show_progress, kept=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    print_warnings([f"{case} ({data.configuration}): {oddity}" for case, oddity in oddities.items() if oddity])
    if errors:
        texts = [f"{case}: {text}" for case, text in errors.items()]
        raise UserError(
            f"{len(errors)} labelled case(s) could not be preprocessed: {listing(texts)}. Correct them and run the "
            "command again; all others are kept."
        )


def require_same_plans(data: PreprocessedData) -> None:
    """Check that the labelled cases there were preprocessed as new ones would be.

    Args:
        data: Folder of preprocessed labelled cases.

    Raises:
        UserError: They were preprocessed with other plans than the present ones.
    """
    if difference := preprocessed_otherwise(data.folder, data.plans_manager, data.configuration):
        plans = plans_identifier(data.folder.parent, data.plans_manager.plans)
        command = labelled_command(data.folder.parent, data.plans_manager, data.configuration)
        raise UserError(
            f"{data.folder} was not preprocessed with the present {plans}.json: {difference}. New cases would be "
            f"preprocessed in another way than the others. Preprocess the labelled cases again first: {command}. Or "
            "remove that folder, if you no longer train this configuration."
        )


def require_blosc2(data: PreprocessedData) -> None:
    """Check that labelled cases are stored as new ones would be: nnU-Net reads no folder with two formats.

    Args:
        data: Folder of preprocessed labelled cases.

    Raises:
        UserError: An older version of nnU-Net has written them.
    """
    if any(data.folder.glob("*.npz")):
        command = labelled_command(data.folder.parent, data.plans_manager, data.configuration)
        raise UserError(
            f"{data.folder} was written by an older version of nnU-Net, in another format than new cases would have. "
            f"Preprocess the labelled cases again first: {command}"
        )


def preprocess_labelled_case(
    case: str, files: dict, folder: Path, temporary: Path, plans: dict, configuration: str, dataset_json: dict
) -> str:
    """Preprocess one labelled case with the plans' own preprocessor; it appears completely and sound, or not at all.

    Args:
        case: Identifier of the case.
        files: ``{"images": [...], "label": ...}``.
        folder: Folder for the finished case.
        temporary: Folder on the same file system for folders of unfinished files.
        plans: nnU-Net's plans.
        configuration: Name of a configuration in them.
        dataset_json: Content of the raw dataset's dataset.json.

    Returns:
        What is odd about the result, or an empty text.

    Raises:
        UserError: The result would spoil a training.
    """
    plans_manager = PlansManager(plans)
    configuration_manager = plans_manager.get_configuration(configuration)
    preprocessor = configuration_manager.preprocessor_class(verbose=False)
    own = temporary / case
    own.mkdir()
    preprocessor.run_case_save(
        str(own / case), files["images"], files["label"], plans_manager, configuration_manager, dataset_json
    )
    found = inspect_labelled_case(str(own), case, all_values(dataset_json), number_of_channels(dataset_json))
    if found.fault:
        raise UserError(found.fault)
    put_in_place(own, folder, case)
    return found.oddity
