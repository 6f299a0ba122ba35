"""Find out which unlabelled cases are preprocessed for a configuration, without the raw data."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import IMAGES_UNLABELLED, unlabelled_folder, unlabelled_info_file
from nnunetv2_crln.preprocessed_dataset.case_files import case_record
from nnunetv2_crln.preprocessed_dataset.commands import unlabelled_command
from nnunetv2_crln.preprocessed_dataset.plan_key import plan_key
from nnunetv2_crln.raw_dataset.folders import DatasetFolders
from nnunetv2_crln.utilities.advice import ways_to_unlabelled_cases
from nnunetv2_crln.utilities.json_files import read_json


@dataclass(frozen=True)
class UnlabelledStatus:
    """State of a folder of preprocessed unlabelled cases, by case identifier.

    Attributes:
        ready: Cases that are complete and match the plans.
        stale: Cases made under other plans.
        missing: Cases that are not preprocessed (yet).
        made_from: Record of the image files that each ready case was made from, by ``source_record``.
    """

    ready: list[str]
    stale: list[str]
    missing: list[str]
    made_from: dict[str, dict] = field(default_factory=dict)


def unlabelled_status(
    preprocessed_dataset_folder: str | Path, plans_manager: PlansManager, configuration: str
) -> UnlabelledStatus:
    """Find out which unlabelled cases are ready for training.

    Args:
        preprocessed_dataset_folder: ``nnUNet_preprocessed/DatasetXXX_Name``.
        plans_manager: nnU-Net's plans.
        configuration: Name of a configuration in them.

    Returns:
        Cases that are complete and match the plans, those made under other plans, and those not preprocessed (yet).

    Raises:
        UserError: The unlabelled cases were never preprocessed.
    """
    configuration_manager = plans_manager.get_configuration(configuration)
    folder = unlabelled_folder(preprocessed_dataset_folder, configuration_manager.data_identifier)
    if not unlabelled_info_file(folder).is_file():
        raise UserError(
            f"{folder} has no preprocessed unlabelled cases. "
            f"Run: {unlabelled_command(preprocessed_dataset_folder, plans_manager, configuration)}"
        )
    key = plan_key(plans_manager, configuration_manager)
    cases = read_json(unlabelled_info_file(folder))["cases"]
    names = set(os.listdir(folder)) if folder.is_dir() else set()
    # Open many files at a time: there may be thousands of small ones on a network drive.
    with ThreadPoolExecutor() as pool:
        records = dict(zip(cases, pool.map(lambda case: case_record(folder, case, names), cases), strict=True))
    ready = [case for case, record in records.items() if record and record["plan_key"] == key]
    return UnlabelledStatus(
        ready=ready,
        stale=[case for case, record in records.items() if record and record["plan_key"] != key],
        missing=[case for case, record in records.items() if not record],
        made_from={case: record.get("files", {}) for case in ready if (record := records[case])},
    )


def no_unlabelled_cases(
    preprocessed_dataset_folder: str | Path, plans_manager: PlansManager, configuration: str
) -> UserError:
    """Make the error about a dataset whose imagesUl was empty when it was preprocessed.

    Args:
        preprocessed_dataset_folder: ``nnUNet_preprocessed/DatasetXXX_Name``.
        plans_manager: nnU-Net's plans.
        configuration: Name of a configuration in them.

    Returns:
        The error, to be raised.
    """
    name = Path(preprocessed_dataset_folder).name
    return UserError(
        f"{name} has 0 unlabelled cases: {IMAGES_UNLABELLED} was empty when it was preprocessed for {configuration}. "
        f"{ways_to_unlabelled_cases(name)}. After filling {IMAGES_UNLABELLED} run: "
        + unlabelled_command(preprocessed_dataset_folder, plans_manager, configuration)
    )


def unlabelled_cases_of(
    folders: DatasetFolders, plans_manager: PlansManager, configuration: str
) -> tuple[Path, UnlabelledStatus]:
    """Find the unlabelled cases that are preprocessed for a configuration.

    Args:
        folders: Folders of the dataset.
        plans_manager: nnU-Net's plans.
        configuration: Name of a configuration in them.

    Returns:
        Their folder and their state; all of them are ready.

    Raises:
        UserError: There are none, or some are missing or were made under other plans.
    """
    status = unlabelled_status(folders.preprocessed, plans_manager, configuration)
    if not (status.ready or status.stale or status.missing):
        raise no_unlabelled_cases(folders.preprocessed, plans_manager, configuration)
    if status.stale or status.missing:
        raise UserError(
            f"Of the unlabelled cases of {folders.name}, {len(status.ready)} are preprocessed for {configuration} "
            f"under these plans, {len(status.stale)} under others, {len(status.missing)} not at all. Run: "
            + unlabelled_command(folders.preprocessed, plans_manager, configuration)
        )
    identifier = plans_manager.get_configuration(configuration).data_identifier
    return unlabelled_folder(folders.preprocessed, identifier), status
