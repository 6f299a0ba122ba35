"""Detect early, with clear messages, what would make a training fail late."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.plan_and_preprocess.plans import is_second_stage, plans_identifier
from nnunetv2_crln.utilities.advice import preprocess_labelled_command, preprocess_unlabelled_command


def plans_file(plans: dict) -> Path:
    """Return the file that nnU-Net read these plans from, for messages."""
    folder = Path(os.environ.get("nnUNet_preprocessed", ""), str(plans.get("dataset_name", "")))
    return folder / f"{plans.get('plans_name', 'plans')}.json"


def refuse_cascade(plans: dict, configuration: str) -> None:
    """Refuse the second stage of a cascade, which nnU-Net supports but this method does not.

    Args:
        plans: nnU-Net's plans.
        configuration: Name of a configuration in them.

    Raises:
        NotImplementedError: It is one; the message names an alternative.
    """
    if is_second_stage(plans, configuration):
        raise NotImplementedError(
            f"Configuration {configuration!r} is the second stage of a cascade. CRLN trains 2d, 3d_lowres and "
            "3d_fullres configurations; train 3d_fullres instead."
        )


@contextlib.contextmanager
def explaining_architecture_errors(plans_manager: PlansManager, configuration: str) -> Iterator[None]:
    """Turn the errors of a network that cannot be built into one that names the entry of the plans.

    Args:
        plans_manager: nnU-Net's plans.
        configuration: Name of the configuration in training.

    Yields:
        Nothing; the network is built in the ``with`` block.

    Raises:
        UserError: The block raised ImportError, TypeError or KeyError.
    """
    try:
        yield
    except (ImportError, TypeError, KeyError) as error:
        architecture = plans_manager.get_configuration(configuration).configuration.get("architecture")
        raise UserError(
            f"{plans_file(plans_manager.plans)}, configuration {configuration!r}: this architecture cannot be built "
            f"({error}): {architecture}. Correct it or make the plans again."
        ) from error


def require_labelled_data(data_folder: str | Path, plans: dict, configuration: str) -> None:
    """Check that the labelled cases are preprocessed for these plans.

    Args:
        data_folder: ``nnUNet_preprocessed/DatasetXXX_Name/<data_identifier>``.
        plans: nnU-Net's plans.
        configuration: Name of a configuration in them.

    Raises:
        UserError: They are not; the message names the commands.
    """
    folder = Path(data_folder)
    if folder.is_dir() and any(folder.iterdir()):
        return
    name = plans_identifier(folder.parent, plans)
    arguments = (str(plans["dataset_name"]), [configuration], name)
    raise UserError(
        f"{folder} has no preprocessed labelled cases. Run: {preprocess_labelled_command(*arguments)} "
        f"and then: {preprocess_unlabelled_command(*arguments)}"
    )
