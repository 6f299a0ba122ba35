"""Blocks of this package in the plans: each mistake in them is named, and entries of others are left alone."""

import pytest

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.preprocessed_dataset.own_blocks import refuse_misplaced_blocks, short_schedule_of

WHOLE = {
    "num_epochs": 60,
    "num_iterations_per_epoch": 50,
    "num_val_iterations_per_epoch": 1,
    "initial_lr": 1,
    "seed": 0,
}


def plans(top=None, beside=None, **entries) -> dict:
    """Plans with some entries at the top, beside the configurations, or in one."""
    configuration = {"data_identifier": "nnUNetPlans_2d", "batch_size": 2, "spacing": [1.0, 1.0], **entries}
    return {
        "dataset_name": "Dataset001_A",
        "plans_name": "nnUNetPlans",
        **(top or {}),
        "configurations": {"2d": configuration, **(beside or {})},
    }


@pytest.mark.parametrize("block", [{}, {"num_epochs": 3}, WHOLE])
def test_a_sound_schedule_is_returned(block):
    assert short_schedule_of({"short_schedule": block}) == block


def test_the_schedule_is_optional():
    assert short_schedule_of({}) == {}


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ([], r"expected a dictionary such as .*, found \[\]"),
        (60, "found 60"),
        ({"epochs": 3}, "unknown key 'epochs'. Did you mean num_epochs"),
        ({"momentum": 0.9}, "unknown key 'momentum'. Known keys: num_epochs"),
        ({"num_epochs": 0}, "num_epochs is 0, expected an integer >= 1"),
        ({"num_epochs": "60"}, "num_epochs is '60'"),
        ({"num_epochs": True}, "num_epochs is True"),
        ({"num_iterations_per_epoch": 2.5}, r"num_iterations_per_epoch is 2\.5"),
        ({"num_val_iterations_per_epoch": -1}, "num_val_iterations_per_epoch is -1"),
        ({"initial_lr": 0}, "initial_lr is 0, expected a number > 0"),
        ({"initial_lr": float("nan")}, "initial_lr is nan"),
        ({"initial_lr": "0.01"}, r"initial_lr is '0\.01'"),
        ({"seed": -1}, "seed is -1, expected an integer >= 0"),
        ({"seed": None}, "seed is None"),
    ],
)
def test_mistakes_in_the_schedule_are_named(block, message):
    with pytest.raises(UserError, match=message):
        short_schedule_of({"short_schedule": block})


@pytest.mark.parametrize("name", ["crln", "CRLN", "crlnn", "clrn", "crln_settings", "short_schedule", "short-schedule"])
@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("top", "the top level has the entry"),
        ("beside", "'configurations' has the entry"),
        ("architecture", "the architecture of '2d' has the entry"),
        ("arch_kwargs", "arch_kwargs of '2d' has the entry"),
    ],
)
def test_blocks_in_the_wrong_place_are_named(place, message, name):
    block = {name: {"seed": 1}}
    content = {
        "top": plans(top=block),
        "beside": plans(beside=block),
        "architecture": plans(architecture=block),
        "arch_kwargs": plans(architecture={"arch_kwargs": block}),
    }[place]
    with pytest.raises(UserError, match=f"nnUNetPlans.json: {message} '{name}'.* Rename or move it"):
        refuse_misplaced_blocks(content, "nnUNetPlans.json")


@pytest.mark.parametrize(
    ("name", "meant"), [("CRLN", "crln"), ("clrn", "crln"), ("crln block", "crln"), ("shortschedule", "short_schedule")]
)
def test_misspelt_blocks_are_named(name, meant):
    with pytest.raises(UserError, match=f"configuration '2d' has the entry '{name}'.* Expected '{meant}'"):
        refuse_misplaced_blocks(plans(**{name: {}}), "nnUNetPlans.json")


def test_what_is_in_its_place_or_belongs_to_others_is_left_alone():
    heirs = {"crln_3d": {"inherits_from": "2d"}, "mine": {"inherits_from": "2d", "crln": {}, "short_schedule": {}}}
    others = {"experiment_planner_used": "x", "label_manager": "y", "schedule": {}, "note": "z"}
    refuse_misplaced_blocks(plans(top=others, beside=heirs, crln={}, short_schedule={}, schedule={}), "p.json")
