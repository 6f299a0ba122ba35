"""Record the plans under which labelled cases were preprocessed: nnU-Net keeps no trace of the normalisation."""

from __future__ import annotations

from pathlib import Path

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.layout import labelled_info_file
from nnunetv2_crln.preprocessed_dataset.plan_key import plan_key
from nnunetv2_crln.utilities.json_files import read_json, write_json


def record_plans(data_folder: Path, plans_manager: PlansManager, configuration: str) -> None:
    """Record that the labelled cases in a folder have just been preprocessed with these plans.

    Args:
        data_folder: ``nnUNet_preprocessed/DatasetXXX_Name/<data_identifier>``.
        plans_manager: nnU-Net's plans.
        configuration: Name of a configuration in them.
    """
    times = {path.stem: path.stat().st_mtime_ns for path in data_folder.glob("*.pkl")}  # of the properties of each case
    key = plan_key(plans_manager, plans_manager.get_configuration(configuration))
    write_json({"plan_key": key, "written": times}, labelled_info_file(data_folder))


def recorded_plan_key(data_folder: str | Path) -> str | None:
    """Return the hash of the plans that labelled cases were preprocessed with.

    Args:
        data_folder: ``nnUNet_preprocessed/DatasetXXX_Name/<data_identifier>``.

    Returns:
        Result of :func:`~nnunetv2_crln.preprocessed_dataset.plan_key.plan_key`; None if nothing is recorded, or if
        another command, such as nnU-Net's own, has replaced the cases since.
    """
    try:
        record = read_json(labelled_info_file(data_folder))
        # Cases are added and removed one by one, under the same plans; nnU-Net replaces all of them. So the first
        # unchanged one is enough, and a training need not look at thousands.
        files = ((Path(data_folder) / f"{case}.pkl", time) for case, time in record["written"].items())
        unchanged = any(file.is_file() and file.stat().st_mtime_ns == time for file, time in files)
        return record["plan_key"] if unchanged else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
