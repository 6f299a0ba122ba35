"""Faults that a training refuses before it starts."""

from types import SimpleNamespace

import pytest
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.training.checks import (
    explaining_architecture_errors,
    plans_file,
    refuse_cascade,
)

PLANS = {
    "configurations": {
        "3d_fullres": {"architecture": {}},
        "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
    }
}


def test_plain_configurations_are_allowed():
    refuse_cascade(PLANS, "3d_fullres")


def test_a_cascade_is_refused_with_the_way_out():
    with pytest.raises(UserError, match=r"'3d_cascade_fullres'.*train 3d_fullres"):
        refuse_cascade(PLANS, "3d_cascade_fullres")


def test_plans_are_named_by_their_file(monkeypatch):
    monkeypatch.setenv("nnUNet_preprocessed", "/data")
    assert str(plans_file({"dataset_name": "Dataset001_X", "plans_name": "mine"})) == "/data/Dataset001_X/mine.json"


class OtherNetwork(nnUNetTrainer):
    build_network_architecture = staticmethod(lambda: None)


def trainer_with(network, kind=nnUNetTrainer):
    trainer = kind.__new__(kind)
    trainer.network, trainer.configuration_name = network, "3d_fullres"
    trainer.plans_manager = SimpleNamespace(plans={"dataset_name": "Dataset001_X"})
    trainer.configuration_manager = SimpleNamespace(configuration={"architecture": "a"})
    return trainer


def test_the_plans_are_blamed_for_their_network():
    with (
        pytest.raises(UserError, match="this architecture cannot be built"),
        explaining_architecture_errors(trainer_with(None)),
    ):
        raise TypeError("no argument n_stages")


@pytest.mark.parametrize(
    ("network", "kind"),
    [("built", nnUNetTrainer), (None, OtherNetwork)],
    ids=["loss or optimiser", "network of its own"],
)
def test_errors_of_a_derived_trainers_methods_stay_as_they_are(network, kind):
    with pytest.raises(TypeError, match="my mistake"), explaining_architecture_errors(trainer_with(network, kind)):
        raise TypeError("my mistake")
