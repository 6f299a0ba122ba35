"""Tell which of the requested configurations can be planned, and which the plans have."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.errors import UserError, did_you_mean
from nnunetv2_crln.plan_and_preprocess import article
from nnunetv2_crln.plan_and_preprocess.options import DEFAULT_PROCESSES, Options
from nnunetv2_crln.plan_and_preprocess.planners import find_nnunet_class
from nnunetv2_crln.preprocessed_dataset.plans import configurations_of
from nnunetv2_crln.raw_dataset.folders import DatasetFolders
from nnunetv2_crln.utilities.json_files import read_json

_PLANNED = (*DEFAULT_PROCESSES, "3d_cascade_fullres")
"""Configurations that nnU-Net's planner may make."""


def refuse_unknown_configurations(datasets: Sequence[DatasetFolders], options: Options) -> None:
    """Refuse a misspelt configuration before plans are replaced.

    Args:
        datasets: Folders of the datasets; a configuration that the user has added to the plans of one of them is known.
        options: Options of the command.

    Raises:
        UserError: The plans cannot come to have a requested configuration.
    """
    planner = find_nnunet_class("experiment_planning", options.planner, "-pl")
    if planner.plan_experiment is not ExperimentPlanner.plan_experiment:  # type: ignore[attr-defined]
        return  # it may plan configurations of its own
    plans_name = options.expected_plans_name()
    known = [*_PLANNED, *([article.CONFIGURATION] if options.article else [])]
    for folders in datasets:
        with contextlib.suppress(OSError, ValueError):  # missing or damaged plans are made again
            known += configurations_of(read_json(folders.preprocessed / f"{plans_name}.json"))
    for name in options.configurations:
        if name not in known:
            raise UserError(
                f"-c {name}: nnU-Net plans {', '.join(_PLANNED)}, and {plans_name}.json has no configuration of "
                f"this name.{did_you_mean(name, known)}"
            )


def available_configurations(plans_manager: PlansManager, requested: dict[str, int]) -> dict[str, int]:
    """Return the requested configurations that the plans have, with their numbers of processes.

    Args:
        plans_manager: nnU-Net's plans.
        requested: Number of processes by configuration.

    Returns:
        Number of processes by configuration, without those that the plans lack.

    Raises:
        UserError: The plans have none of them.
    """
    present = plans_manager.available_configurations
    skipped = [name for name in requested if name not in present]
    if len(skipped) == len(requested):
        raise UserError(
            f"{plans_manager.plans_name} of {plans_manager.dataset_name} have none of the configurations "
            f"{', '.join(skipped)} (-c). They have: {', '.join(present)}.{did_you_mean(skipped[0], present)}"
        )
    if skipped:
        hints = "".join(did_you_mean(name, present) for name in skipped if name not in DEFAULT_PROCESSES)
        print(f"Skipping {', '.join(skipped)}: not in the plans of {plans_manager.dataset_name}.{hints}")
    return {name: number for name, number in requested.items() if name in present}
