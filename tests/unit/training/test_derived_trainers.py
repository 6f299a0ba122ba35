"""Trainers derived from ours that would lose a part of the method."""

import inspect
from types import SimpleNamespace

import pytest
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerDA5 import nnUNetTrainerDA5
from nnunetv2.training.nnUNetTrainer.variants.lr_schedule.nnUNetTrainer_warmup import nnUNetTrainer_warmup
from nnunetv2.training.nnUNetTrainer.variants.optimizer.nnUNetTrainerAdam import nnUNetTrainerAdam3en4

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.training import variants
from nnunetv2_crln.training.derived_trainers import (
    REPLACED_METHODS,
    SCHEDULE_METHODS,
    refuse_lost_methods,
    refuse_lost_methods_of_schedules,
    require_unlabelled_batches,
)
from nnunetv2_crln.training.schedules import ArticleProtocol
from nnunetv2_crln.training.trainer import nnUNetTrainer_CRLN


def derived(*bases: type, **methods) -> type:
    return type("nnUNetTrainer_Derived", bases, methods)


@pytest.mark.parametrize(
    ("bases", "message"),
    [
        ((nnUNetTrainer_CRLN, nnUNetTrainer_warmup), "that of nnUNetTrainer_warmup would be lost"),
        ((nnUNetTrainer_warmup, nnUNetTrainer_CRLN), "that of nnUNetTrainer_CRLN would be lost"),
    ],
)
def test_two_methods_of_which_one_would_be_lost_are_refused(bases, message):
    """Continued, the first would go on with the growing rate of the warm-up, the second without the teacher."""
    with pytest.raises(UserError, match=f"load_checkpoint.*{message}.*define load_checkpoint in nnUNetTrainer_Derived"):
        refuse_lost_methods(derived(*bases), nnUNetTrainer_CRLN)


@pytest.mark.parametrize(
    "trainer",
    [
        nnUNetTrainer_CRLN,
        derived(nnUNetTrainer_CRLN, nnUNetTrainerDA5),
        derived(nnUNetTrainerDA5, nnUNetTrainer_CRLN),
        derived(nnUNetTrainer_CRLN, train_step=lambda self, batch: {}),
        derived(nnUNetTrainer_CRLN, nnUNetTrainer_warmup, load_checkpoint=lambda self, file: None),
    ],
)
def test_trainers_that_lose_nothing_are_allowed(trainer):
    refuse_lost_methods(trainer, nnUNetTrainer_CRLN)


@pytest.mark.parametrize(
    ("bases", "method", "lost"),
    [
        ((variants.nnUNetTrainer_CRLN_short, nnUNetTrainerAdam3en4), "configure_optimizers", "nnUNetTrainerAdam3en4"),
        ((variants.nnUNetTrainer_short, nnUNetTrainerAdam3en4), "configure_optimizers", "nnUNetTrainerAdam3en4"),
        ((variants.nnUNetTrainer_CRLN_article, nnUNetTrainerDA5), "configure_rot", "nnUNetTrainerDA5"),
        ((ArticleProtocol, variants.nnUNetTrainer_CRLN_NoMirroring), "configure_rot", "nnUNetTrainer_CRLN_NoMirroring"),
    ],
)
def test_an_optimiser_or_augmentation_that_a_schedule_would_replace_is_refused(bases, method, lost):
    message = rf"has {method}\w* of \w+, and that of {lost} would be lost.*name {lost} before .*define {method}"
    with pytest.raises(UserError, match=message):
        refuse_lost_methods_of_schedules(derived(*bases))


@pytest.mark.parametrize(
    "trainer",
    [
        *(getattr(variants, name) for name in variants.__all__),
        derived(nnUNetTrainerAdam3en4, variants.nnUNetTrainer_CRLN_short),
        derived(variants.nnUNetTrainer_CRLN_short, nnUNetTrainerDA5),
        derived(variants.nnUNetTrainer_CRLN_short, nnUNetTrainerAdam3en4, configure_optimizers=lambda self: ()),
    ],
)
def test_schedules_that_replace_nothing_of_another_base_are_allowed(trainer):
    refuse_lost_methods_of_schedules(trainer)


def test_every_method_that_calls_no_other_is_watched():
    """All other overrides hand on to the next class, so that nothing of another base is lost."""
    trainers = [getattr(variants, name) for name in variants.__all__]
    ours = {cls for trainer in trainers for cls in trainer.__mro__ if cls.__module__.startswith("nnunetv2_crln.")}
    overrides = {
        (name, getattr(method, "__func__", method))  # of a static method
        for cls in ours
        for name, method in vars(cls).items()
        if name in dir(nnUNetTrainer) and not name.startswith("__")
    }
    calls_no_other = {
        name
        for name, method in overrides
        if inspect.isfunction(method) and "__class__" not in method.__code__.co_freevars
    }
    assert calls_no_other == {*REPLACED_METHODS, *SCHEDULE_METHODS}


def test_loaders_without_unlabelled_patches_are_refused():
    with pytest.raises(UserError, match=r"get_dataloaders of SimpleNamespace .* super\(\)\.get_dataloaders\(\)"):
        require_unlabelled_batches(SimpleNamespace())
    require_unlabelled_batches(SimpleNamespace(num_cases={}))
