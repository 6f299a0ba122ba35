"""Detect early, with clear messages, what would make a training fail late."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from nnunetv2.utilities.crossval_split import generate_crossval_split
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.layout import NUM_FOLDS, SPLITS_FILE
from nnunetv2_crln.plan_and_preprocess.plans import plans_identifier
from nnunetv2_crln.utilities.advice import preprocess_labelled_command, preprocess_unlabelled_command
from nnunetv2_crln.utilities.files import read_json, write_json
from nnunetv2_crln.utilities.names import with_hint


def plans_file(plans: dict) -> Path:
    """Return the file that nnU-Net read these plans from, for messages."""
    folder = Path(os.environ.get("nnUNet_preprocessed", ""), str(plans.get("dataset_name", "")))
    return folder / f"{plans.get('plans_name', 'plans')}.json"


def refuse_cascade(configuration: str, is_cascaded: bool) -> None:
    """Refuse the second stage of a cascade, which nnU-Net supports but this method does not.

    Args:
        configuration: Name of the configuration.
        is_cascaded: True if it is the second stage of a cascade.

    Raises:
        NotImplementedError: It is one; the message names an alternative.
    """
    if is_cascaded:
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


def make_missing_split(preprocessed_dataset_folder: str | Path, cases: Sequence[str]) -> None:
    """Write nnU-Net's own split, unless a split exists.

    nnU-Net would write the same content, but not in one step, and trainings of other folds may start at this moment.

    Args:
        preprocessed_dataset_folder: ``nnUNet_preprocessed/DatasetXXX_Name``.
        cases: Names of the labelled cases.

    Raises:
        UserError: The dataset has fewer labelled cases than folds.
    """
    file = Path(preprocessed_dataset_folder) / SPLITS_FILE
    if file.is_file():
        return
    if len(cases) < NUM_FOLDS:
        raise UserError(
            f"{file.parent.name} has {len(cases)} labelled cases, too few for nnU-Net's {NUM_FOLDS}-fold "
            f"cross-validation. Train with fold 'all', or write your own {file}."
        )
    write_json(generate_crossval_split(sorted(cases), seed=12345, n_splits=NUM_FOLDS), file)


@contextlib.contextmanager
def explaining_split_errors(preprocessed_dataset_folder: str | Path) -> Iterator[None]:
    """Turn the errors of a damaged splits_final.json into one that names the file.

    Raises:
        UserError: The ``with`` block raised ValueError, KeyError or TypeError.
    """
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        try:
            read_json(Path(preprocessed_dataset_folder) / SPLITS_FILE)
        except (OSError, ValueError) as unreadable:
            reason = str(unreadable)
        raise UserError(
            f"{Path(preprocessed_dataset_folder) / SPLITS_FILE} is damaged ({reason}). Expected "
            "a list of objects with 'train' and 'val'. Correct the file, or remove it to let nnU-Net make a new split."
        ) from error


def refuse_unknown_cases(
    preprocessed_dataset_folder: str | Path, fold: int | str, named: Sequence[str], cases: Sequence[str]
) -> None:
    """Check that all cases of a fold are preprocessed.

    Their names are joined to the folder of the data, and a file outside that folder must not be opened.

    Args:
        preprocessed_dataset_folder: ``nnUNet_preprocessed/DatasetXXX_Name``.
        fold: Fold of the training.
        named: Names of the fold's training and validation cases.
        cases: Names of the preprocessed cases.

    Raises:
        UserError: Cases of the fold are not preprocessed; the message lists them.
    """
    if unknown := sorted(set(named) - set(cases)):
        named_unknown = [with_hint(str(case), cases) for case in unknown]
        raise UserError(
            f"{Path(preprocessed_dataset_folder) / SPLITS_FILE}, fold {fold}, names {len(unknown)} case(s) that are "
            f"not preprocessed: {listing(named_unknown)}. Correct the names, or remove the file to let nnU-Net "
            "make a new split."
        )


def refuse_empty_lists(
    preprocessed_dataset_folder: str | Path, fold: int | str, training: Sequence[str], validation: Sequence[str]
) -> None:
    """Check that a fold has training and validation cases; nnU-Net fails on an empty list with an error of NumPy.

    Args:
        preprocessed_dataset_folder: ``nnUNet_preprocessed/DatasetXXX_Name``.
        fold: Fold of the training.
        training: Training cases.
        validation: Validation cases.

    Raises:
        UserError: One of the lists is empty.
    """
    file = Path(preprocessed_dataset_folder) / SPLITS_FILE
    for key, kind, cases in (("train", "training", training), ("val", "validation", validation)):
        if not cases:
            raise UserError(
                f"{file}, fold {fold}, has no {kind} case ('{key}' is empty). Name at least one in '{key}', or train "
                "with fold 'all', which trains and validates on all labelled cases."
            )


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
