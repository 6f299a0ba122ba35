"""Detect early, with clear messages, what would make a training fail late."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.preprocessed_dataset.commands import labelled_command
from nnunetv2_crln.preprocessed_dataset.labelled_status import unprocessed_labelled
from nnunetv2_crln.preprocessed_dataset.plans import is_second_stage, plans_identifier
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


REPLACED_METHODS = ("train_step", "save_checkpoint", "load_checkpoint", "set_deep_supervision_enabled")
"""Methods of nnU-Net's trainer that nnUNetTrainer_CRLN replaces without calling the former ones."""

SCHEDULE_METHODS = (
    "configure_optimizers",
    "configure_rotation_dummyDA_mirroring_and_inital_patch_size",
    "get_training_transforms",
)
"""Methods of nnU-Net's trainer that the mixins in schedules.py replace without calling the former ones."""


def refuse_lost_methods(trainer: type, ours: type) -> None:
    """Refuse a trainer with two bases that replace the same method, of which one would be lost without a word.

    ``nnUNetTrainer_warmup``, for example, sets its learning rate anew in ``load_checkpoint``. A trainer that defines
    the method itself is trusted.

    Args:
        trainer: Class of the trainer.
        ours: Trainer of this package that it derives from.

    Raises:
        UserError: It is one; the message names method and bases.
    """
    for name in REPLACED_METHODS:
        owners, others = _owners(trainer, name)
        of_ours = _is_of_this_package(owners[0])
        if others and (of_ours or owners[0].__module__.startswith("nnunetv2.")):
            other = others[0].__name__
            kept, lost = (ours.__name__, other) if of_ours else (other, ours.__name__)
            raise UserError(
                f"{trainer.__name__} has {name} of {kept}, and that of {lost} would be lost. Expected one that does "
                f"what both do: name {ours.__name__} before {other} among the bases, and define {name} in "
                f"{trainer.__name__}, with a call of super().{name} and what {other} adds. Or leave out {other}."
            )


def refuse_lost_methods_of_schedules(trainer: type) -> None:
    """Refuse a trainer whose schedule replaces the optimiser or the augmentation of a base that follows it.

    The other order of bases is a decision of the trainer's author: the schedule then sets the other attributes alone.

    Args:
        trainer: Class of a trainer with one of the mixins in ``schedules.py``.

    Raises:
        UserError: It is one; the message names method and bases.
    """
    for name in SCHEDULE_METHODS:
        owners, others = _owners(trainer, name)
        if others and _is_of_this_package(owners[0]):
            # The bases as their author knows them: the method may come from a base of theirs.
            kept = next(cls for cls in trainer.__mro__ if issubclass(cls, owners[0]) and _is_of_this_package(cls))
            lost = next(cls for cls in trainer.__mro__ if issubclass(cls, others[0]) and not issubclass(cls, owners[0]))
            raise UserError(
                f"{trainer.__name__} has {name} of {kept.__name__}, and that of {lost.__name__} would be lost. "
                f"Expected only one of them: name {lost.__name__} before {kept.__name__} among the bases to have its "
                f"own, define {name} in {trainer.__name__}, or leave out {lost.__name__}."
            )


def _owners(trainer: type, method: str) -> tuple[list[type], list[type]]:
    """Return the classes that define a method, the one in force first, and which of them are others' variants."""
    owners = [cls for cls in trainer.__mro__ if method in vars(cls)]
    return owners, [cls for cls in owners if cls is not nnUNetTrainer and not _is_of_this_package(cls)]


def _is_of_this_package(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == __name__.partition(".")[0]


def require_unlabelled_batches(trainer: Any) -> None:
    """Check that the loaders of a training are those of this package.

    Args:
        trainer: Trainer after it has made its loaders.

    Raises:
        UserError: A derived trainer has made loaders without unlabelled patches.
    """
    if not hasattr(trainer, "num_cases"):
        raise UserError(
            f"get_dataloaders of {type(trainer).__name__} has made loaders without unlabelled patches. Expected a call "
            "of super().get_dataloaders(). To change the labelled patches, override what it calls: "
            "get_tr_and_val_datasets or get_training_transforms."
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
