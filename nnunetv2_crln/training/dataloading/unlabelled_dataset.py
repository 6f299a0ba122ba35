"""Open the preprocessed unlabelled cases of a training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.layout import unlabelled_folder
from nnunetv2_crln.preprocessed_dataset.commands import labelled_command, labelled_folder, unlabelled_command
from nnunetv2_crln.preprocessed_dataset.labelled_record import recorded_plan_key
from nnunetv2_crln.preprocessed_dataset.unlabelled_status import no_unlabelled_cases, unlabelled_status
from nnunetv2_crln.training.checks import unlabelled_images_changed


class UnlabelledDataset(nnUNetDatasetBlosc2):
    """Preprocessed unlabelled cases; their "segmentation" is nnU-Net's nonzero mask, never a label."""

    def load_case(self, identifier: str) -> tuple[Any, Any, None, dict]:
        """Load image, mask, None and properties of a case, as nnU-Net's loader expects them."""
        data, mask, previous, properties = super().load_case(identifier)
        # nnU-Net's loader reads the key even if it does not oversample foreground.
        return data, mask, previous, {**properties, "class_locations": {}}


def open_unlabelled_dataset(
    preprocessed_dataset_folder: str | Path,
    plans_manager: PlansManager,
    configuration: str,
    labelled: Sequence[str],
    print_line: Callable[[str], None],
    may_be_none: bool = False,
) -> UnlabelledDataset:
    """Open the unlabelled cases that are preprocessed for these plans.

    Args:
        preprocessed_dataset_folder: ``nnUNet_preprocessed/DatasetXXX_Name``.
        plans_manager: nnU-Net's plans.
        configuration: Name of a configuration in them.
        labelled: Names of the labelled cases.
        print_line: Function that prints a warning into the training's log.
        may_be_none: Accept a dataset without unlabelled cases, because the labelled ones have ignored voxels.

    Returns:
        Dataset of the unlabelled cases that are ready.

    Raises:
        UserError: No unlabelled case is ready, some belong to other plans, or some are also labelled cases.
    """
    status = unlabelled_status(preprocessed_dataset_folder, plans_manager, configuration)
    command = unlabelled_command(preprocessed_dataset_folder, plans_manager, configuration)
    none_expected = may_be_none and not status.missing
    if not (status.ready or status.stale or status.missing or may_be_none):
        raise no_unlabelled_cases(preprocessed_dataset_folder, plans_manager, configuration)
    if status.stale or not (status.ready or none_expected):
        raise UserError(
            f"{plans_manager.dataset_name} has {len(status.ready)} unlabelled cases that are preprocessed for these "
            f"plans, and {len(status.stale)} for others ({listing(status.stale, 3) or 'none'}). Run: {command}"
            + _labelled_ones_too(preprocessed_dataset_folder, plans_manager, configuration)
        )
    if status.missing:
        print_line(
            f"WARNING: {len(status.missing)} unlabelled cases are not preprocessed and take no part: "
            f"{listing(status.missing, 3)}. To add them: {command}"
        )
    for text in unlabelled_images_changed(preprocessed_dataset_folder, status, plans_manager, configuration):
        print_line(f"WARNING: {text}")
    if both := sorted(set(status.ready) & set(labelled)):
        raise UserError(
            f"{len(both)} case(s) are both labelled and unlabelled: {listing(both)}. Keep each case in only one of the "
            "two folders, imagesTr or imagesUl, and then run (also if you have moved a case from one to the other): "
            f"{labelled_command(preprocessed_dataset_folder, plans_manager, configuration)} && {command}"
        )
    identifier = plans_manager.get_configuration(configuration).data_identifier
    return UnlabelledDataset(str(unlabelled_folder(preprocessed_dataset_folder, identifier)), status.ready)


def _labelled_ones_too(dataset_folder: str | Path, plans_manager: PlansManager, configuration: str) -> str:
    """Return advice for labelled cases of which nothing tells under which plans they were preprocessed."""
    if recorded_plan_key(labelled_folder(dataset_folder, plans_manager, configuration)):
        return ""  # a training has compared them with its plans
    command = labelled_command(dataset_folder, plans_manager, configuration)
    return f" Before it, if the labelled cases were preprocessed before the plans were changed: {command}"
