"""Name the folder of a configuration's data, and the commands that fill it."""

from __future__ import annotations

from pathlib import Path

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.preprocessed_dataset.plans import plans_identifier
from nnunetv2_crln.utilities.advice import preprocess_labelled_command, preprocess_unlabelled_command


def labelled_folder(preprocessed_dataset_folder: str | Path, plans_manager: PlansManager, configuration: str) -> Path:
    """Return the folder of a configuration's preprocessed labelled cases.

    Args:
        preprocessed_dataset_folder: ``nnUNet_preprocessed/DatasetXXX_Name``.
        plans_manager: nnU-Net's plans.
        configuration: Name of a configuration in them.

    Returns:
        ``nnUNet_preprocessed/DatasetXXX_Name/<data_identifier>``; it may be missing.
    """
    return Path(preprocessed_dataset_folder) / plans_manager.get_configuration(configuration).data_identifier


def labelled_command(preprocessed_dataset_folder: str | Path, plans_manager: PlansManager, configuration: str) -> str:
    """Return the command that preprocesses the labelled cases of a configuration; looking for its name reads plans.

    Args:
        preprocessed_dataset_folder: ``nnUNet_preprocessed/DatasetXXX_Name``.
        plans_manager: nnU-Net's plans.
        configuration: Name of a configuration in them.

    Returns:
        One line to paste.
    """
    plans = plans_identifier(preprocessed_dataset_folder, plans_manager.plans)
    return preprocess_labelled_command(Path(preprocessed_dataset_folder).name, [configuration], plans)


def unlabelled_command(preprocessed_dataset_folder: str | Path, plans_manager: PlansManager, configuration: str) -> str:
    """Return the command that preprocesses the unlabelled cases of a configuration; this reads plans as well.

    Args:
        preprocessed_dataset_folder: ``nnUNet_preprocessed/DatasetXXX_Name``.
        plans_manager: nnU-Net's plans.
        configuration: Name of a configuration in them.

    Returns:
        One line to paste.
    """
    plans = plans_identifier(preprocessed_dataset_folder, plans_manager.plans)
    return preprocess_unlabelled_command(Path(preprocessed_dataset_folder).name, [configuration], plans)
