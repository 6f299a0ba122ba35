"""Refuse trainers derived from ours that would lose a part of the method without a word."""

from __future__ import annotations

from typing import Any

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_crln.errors import UserError

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
