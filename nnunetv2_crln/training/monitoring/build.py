"""Build the monitor of a training from nnU-Net's plans and datasets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.layout import UNLABELLED_GROUPS
from nnunetv2_crln.raw_dataset.classes import all_values, names_by_value
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.monitoring.groups import Groups
from nnunetv2_crln.training.monitoring.hidden_labels import HiddenLabels
from nnunetv2_crln.training.monitoring.monitor import Monitor
from nnunetv2_crln.training.monitoring.patch_teacher import PatchTeacher
from nnunetv2_crln.training.monitoring.patches import PatchReader, usual_foreground_centre


def build_monitor(
    teacher: PatchTeacher,
    unlabelled: nnUNetBaseDataset,
    labelled: nnUNetBaseDataset,
    plans_manager: PlansManager,
    configuration: str,
    dataset_json: dict,
    settings: CRLNSettings,
    output_folder: str | Path,
    seed: int,
    print_line: Callable[[str], None],
) -> Monitor:
    """Build the monitor of one configuration.

    Args:
        teacher: Teacher as a function of a patch.
        unlabelled: Dataset of nnU-Net with the monitored cases.
        labelled: Dataset of nnU-Net with the labelled cases, which show where foreground is.
        plans_manager: nnU-Net's plans.
        configuration: Name of a configuration in them.
        dataset_json: Content of dataset.json.
        settings: Hyper-parameters; the frequencies of monitoring are used.
        output_folder: Folder of the fold.
        seed: Seed of the training, which determines the monitored cases.
        print_line: Function that prints a line into the training's log.

    Returns:
        The monitor.
    """
    manager = plans_manager.get_configuration(configuration)
    hidden_labels = HiddenLabels(
        plans_manager, manager, dataset_json["file_ending"], allowed=all_values(dataset_json), print_line=print_line
    )
    reader = PatchReader(
        unlabelled, manager.patch_size, manager.spacing, usual_foreground_centre(labelled), hidden_labels
    )
    names = names_by_value(dataset_json, teacher.num_classes)
    groups = Groups(dataset_json, unlabelled, labelled, output_folder, plans_manager.transpose_forward)
    for name in groups.without_cases:
        print_line(f'WARNING: group {name!r} in "{UNLABELLED_GROUPS}" has no preprocessed case and is not followed.')
    return Monitor(reader, teacher, settings, names, output_folder, seed, print_line, groups)
