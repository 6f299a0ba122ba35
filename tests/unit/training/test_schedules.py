"""What a schedule sets: a trainer's own attributes replace its defaults, and the plans replace both."""

from types import SimpleNamespace

import pytest

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.training.schedules import ArticleProtocol, ShortSchedule


class Trainer:
    """What the schedules need of nnU-Net's trainer."""

    def __init__(self, plans, *_):
        self.configuration_manager = SimpleNamespace(configuration=plans)
        self.num_epochs, self.initial_lr, self.weight_decay, self.enable_deep_supervision = 1000, 0.01, 3e-5, True


def attributes_of(schedule, planned=None, **own):
    trainer = type("nnUNetTrainer_Derived", (schedule, Trainer), {"training_attributes": own})
    plans = {} if planned is None else {"short_schedule": planned}
    return vars(trainer(plans, "3d_fullres", 0, {}))


def test_without_anything_else_the_defaults_hold():
    assert attributes_of(ShortSchedule)["num_epochs"] == 20
    article = attributes_of(ArticleProtocol)
    assert (article["num_epochs"], article["weight_decay"], article["enable_deep_supervision"]) == (200, 5e-4, False)


@pytest.mark.parametrize("schedule", [ShortSchedule, ArticleProtocol])
def test_a_trainers_own_attributes_replace_the_defaults(schedule):
    own = {"num_epochs": 7, "initial_lr": 0.3, "weight_decay": 0.1, "enable_deep_supervision": True}
    assert own.items() <= attributes_of(schedule, **own).items()


def test_the_plans_have_the_last_word():
    found = attributes_of(ShortSchedule, {"num_epochs": 3}, num_epochs=7, initial_lr=0.3)
    assert (found["num_epochs"], found["initial_lr"]) == (3, 0.3)


def test_a_wrong_schedule_is_named():
    with pytest.raises(UserError, match="num_epochs is 0, expected an integer >= 1"):
        attributes_of(ShortSchedule, {"num_epochs": 0})
