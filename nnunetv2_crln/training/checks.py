"""Detect early, with clear messages, what would make a training fail late."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import SPLITS_FILE
from nnunetv2_crln.preprocessed_dataset.commands import labelled_command
from nnunetv2_crln.preprocessed_dataset.image_changes import image_changes
from nnunetv2_crln.preprocessed_dataset.labelled_status import unprocessed_labelled
from nnunetv2_crln.preprocessed_dataset.plans import is_second_stage, plans_identifier
from nnunetv2_crln.preprocessed_dataset.unlabelled_status import UnlabelledStatus
from nnunetv2_crln.raw_dataset.cases import find_labelled_cases
from nnunetv2_crln.raw_dataset.folders import DatasetFolders


def plans_file(plans: dict) -> Path:
    """Return the file that nnU-Net read these plans from, for messages."""
    folder = Path(os.environ.get("nnUNet_preprocessed", ""), str(plans.get("dataset_name", "")))
    return folder / f"{plans_identifier(folder, plans)}.json"


def refuse_cascade(plans: dict, configuration: str) -> None:
    """Refuse the second stage of a cascade, which nnU-Net supports but this method does not.

    Args:
        plans: nnU-Net's plans.
        configuration: Name of a configuration in them.

    Raises:
        UserError: It is one; the message names an alternative.
    """
    if is_second_stage(plans, configuration):
        raise UserError(
            f"Configuration {configuration!r} is the second stage of a cascade. CRLN trains 2d, 3d_lowres and "
            "3d_fullres configurations; train 3d_fullres instead."
        )


@contextlib.contextmanager
def explaining_architecture_errors(trainer: nnUNetTrainer) -> Iterator[None]:
    """Turn the errors of a network that cannot be built into one that names the entry of the plans.

    Errors of methods that a derived trainer has are raised as they are, because the plans are not to blame.

    Args:
        trainer: Trainer that is being initialised.

    Yields:
        Nothing; the network is built in the ``with`` block.

    Raises:
        UserError: The block raised ImportError, TypeError or KeyError.
    """
    try:
        yield
    except (ImportError, TypeError, KeyError) as error:
        own_network = type(trainer).build_network_architecture is not nnUNetTrainer.build_network_architecture
        if trainer.network is not None or own_network:
            raise
        architecture = trainer.configuration_manager.configuration.get("architecture")
        raise UserError(
            f"{plans_file(trainer.plans_manager.plans)}, configuration {trainer.configuration_name!r}: this "
            f"architecture cannot be built ({error}): {architecture}. Correct it or make the plans again."
        ) from error


def command_to_preprocess(
    preprocessed: str | Path, plans_manager: PlansManager, configuration: str, cases: Collection[str]
) -> str:
    """Return the command that preprocesses some labelled cases of the raw dataset.

    Args:
        preprocessed: ``nnUNet_preprocessed/DatasetXXX_Name``.
        plans_manager: nnU-Net's plans.
        configuration: Name of a configuration in them.
        cases: Names of the cases.

    Returns:
        One line to paste; empty if the raw dataset lacks one of the cases, or is not at hand.
    """
    try:
        labelled = find_labelled_cases(_folders_of(preprocessed).raw)
    except Exception:  # whatever is wrong with the raw dataset must not end a training, which does not need it
        return ""
    if not set(cases) <= set(labelled):
        return ""
    return labelled_command(preprocessed, plans_manager, configuration)


def _folders_of(preprocessed: str | Path) -> DatasetFolders:
    name = Path(preprocessed).name
    return DatasetFolders(name, Path(os.environ.get("nnUNet_raw", "")) / name, Path(preprocessed))


def refuse_split_of_some_cases(preprocessed: str | Path, plans_manager: PlansManager, configuration: str) -> None:
    """Refuse to make the folds while labelled cases are not preprocessed: every fold would lack them for good.

    Args:
        preprocessed: ``nnUNet_preprocessed/DatasetXXX_Name``.
        plans_manager: nnU-Net's plans.
        configuration: Name of a configuration in them.

    Raises:
        UserError: There are such cases, and no split yet.
    """
    if (Path(preprocessed) / SPLITS_FILE).is_file():
        return
    if texts := labelled_cases_left_out(preprocessed, plans_manager, configuration):
        raise UserError(
            f"{texts[0]} A split made now would leave them out of every fold for good. Or write your own "
            f"{Path(preprocessed) / SPLITS_FILE}."
        )


def labelled_cases_left_out(preprocessed: str | Path, plans_manager: PlansManager, configuration: str) -> list[str]:
    """Describe the labelled cases that a training does not see, because nobody has preprocessed them.

    Args:
        preprocessed: ``nnUNet_preprocessed/DatasetXXX_Name``.
        plans_manager: nnU-Net's plans.
        configuration: Name of a configuration in them.

    Returns:
        One text, or none; also where the raw dataset is not at hand, which a training does not need.
    """
    try:
        return unprocessed_labelled(_folders_of(preprocessed), plans_manager, [configuration])
    except Exception:  # as above
        return []


def unlabelled_images_changed(
    preprocessed: str | Path, status: UnlabelledStatus, plans_manager: PlansManager, configuration: str
) -> list[str]:
    """Describe what has changed in imagesUl since its cases were preprocessed: a training sees nothing of it.

    Args:
        preprocessed: ``nnUNet_preprocessed/DatasetXXX_Name``.
        status: State of the preprocessed unlabelled cases.
        plans_manager: nnU-Net's plans.
        configuration: Name of a configuration in them.

    Returns:
        Texts with the way out; none where the raw dataset is not at hand, which a training does not need.
    """
    try:
        return image_changes(_folders_of(preprocessed), status, plans_manager, configuration).texts
    except Exception:  # as above
        return []
