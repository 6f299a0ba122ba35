"""Faults that a training refuses before it starts."""

from types import SimpleNamespace

import pytest
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.training import checks, variants
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


def test_no_split_is_made_while_cases_are_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "labelled_cases_left_out", lambda *_: [])
    checks.refuse_split_of_some_cases(tmp_path, None, "2d")
    monkeypatch.setattr(checks, "labelled_cases_left_out", lambda *_: ["2 labelled case(s) are not preprocessed."])
    with pytest.raises(UserError, match=r"2 labelled case\(s\).*out of every fold for good.*splits_final.json"):
        checks.refuse_split_of_some_cases(tmp_path, None, "2d")
    (tmp_path / "splits_final.json").touch()  # somebody has decided
    checks.refuse_split_of_some_cases(tmp_path, None, "2d")


@pytest.mark.parametrize("trainer", ["nnUNetTrainer_CRLN_short", "nnUNetTrainer_short"])
def test_all_trainers_ask_before_a_split_is_made(trainer, tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "labelled_cases_left_out", lambda *_: ["one is missing"])
    kind = getattr(variants, trainer)
    made = kind.__new__(kind)
    made.fold, made.configuration_name, made.plans_manager = 0, "2d", None
    made.preprocessed_dataset_folder_base = str(tmp_path)
    with pytest.raises(UserError, match="one is missing"):
        made.do_split()
