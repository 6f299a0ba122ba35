"""The names that ``nnUNetv2_train -tr`` accepts."""

import re

import pytest

from nnunetv2_crln.nnunet_trainers import nnunetv2_crln_trainers
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training import variants
from nnunetv2_crln.training.hooks.refreshing import Refreshing
from nnunetv2_crln.training.hooks.resuming import Resuming


@pytest.mark.parametrize("method", ["CRLN", "CRLN_noCPS", "MeanTeacher"])
def test_former_names_are_the_short_trainers(method):
    former, short = (getattr(variants, f"nnUNetTrainer_{method}_{ending}") for ending in ("demo", "short"))
    assert issubclass(former, short) and former.__name__.endswith("_demo")


@pytest.mark.parametrize("ending", ["", "_short", "_article"])
@pytest.mark.parametrize(
    ("method", "parts"), [("MeanTeacher", (False, False)), ("CRLN_noCPS", (True, False)), ("CRLN", (True, True))]
)
def test_a_trainer_uses_the_parts_of_the_method_that_its_name_says(method, parts, ending):
    trainer = getattr(variants, f"nnUNetTrainer_{method}{ending}")
    settings = CRLNSettings.from_plans({}, **trainer.fixed_settings)
    assert (settings.dim, settings.cps) == parts


def test_refreshes_are_removed_after_the_checkpoint_that_replaces_them():
    """Resuming.save_checkpoint calls no other: behind it, that of Refreshing would be lost without a word."""
    order = variants.nnUNetTrainer_CRLN.__mro__
    assert order.index(Refreshing) < order.index(Resuming)


def test_the_names_of_lengths_are_true():
    lengths = {name: re.search(r"CRLN_(\d+)epochs?$", name) for name in variants.__all__}
    found = {int(match[1]): getattr(variants, name) for name, match in lengths.items() if match}
    assert {1, 5, 10, 20, 50, 100, 250, 500, 2000} <= set(found)
    assert all(trainer.training_attributes == {"num_epochs": epochs} for epochs, trainer in found.items())


def test_nnunet_finds_every_trainer_in_its_folder():
    trainers = {name for name, value in vars(variants).items() if name.startswith("nnUNetTrainer_")}
    assert trainers == set(variants.__all__)
    assert all(getattr(nnunetv2_crln_trainers, name) is getattr(variants, name) for name in trainers)
    assert {"nnUNetTrainer_CRLN", "nnUNetTrainer_short", "nnUNetTrainer_article", "nnUNetTrainer_demo"} <= trainers
