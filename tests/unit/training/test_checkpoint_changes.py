"""What is said when a checkpoint does not fit the plans any more."""

import copy
import dataclasses

import pytest
import torch

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import CHECKPOINT_STATE
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.checkpoint_changes import (
    FORMER_DEFAULTS,
    SHAPING,
    changed_architecture,
    changed_settings,
    describe,
    explaining_other_shapes,
    named_in_checkpoint,
    settings_of_checkpoint,
    with_defaults_of_checkpoint,
)
from nnunetv2_crln.training.method.heads import Heads

PLANS = {
    "configurations": {
        "base": {"architecture": {"network_class_name": "N", "arch_kwargs": {"features": [4, 8]}}},
        "3d": {"inherits_from": "base", "crln": {"num_prototypes": 16, "ema_decay": 0.9}},
    }
}
INIT = {"plans": PLANS, "configuration": "3d", "dataset_json": {"labels": {"background": 0, "a": 1}}}


def checkpoint(**state):
    return {"init_args": INIT, CHECKPOINT_STATE: state}


def test_settings_are_compared_with_those_of_the_checkpoint():
    before = CRLNSettings(num_prototypes=16, ema_decay=0.9)
    assert settings_of_checkpoint(checkpoint(settings=dataclasses.asdict(before)), {}) == before
    now = CRLNSettings(num_prototypes=4, ema_decay=0.9, cps=False)
    assert changed_settings(before, now) == {"num_prototypes": (16, 4), "cps": (True, False)}
    assert changed_settings(before, before) == {}


def test_checkpoints_without_settings_had_the_defaults_of_their_time():
    former = CRLNSettings(ema_decay=0.9, cps=False, **FORMER_DEFAULTS)
    assert settings_of_checkpoint(checkpoint(), {"cps": False}) == former


def test_checkpoints_without_a_setting_that_came_later_had_what_was_before_it():
    recorded = dataclasses.asdict(CRLNSettings(cps_weight=0.3))
    del recorded["histogram_matching"]
    found = settings_of_checkpoint(checkpoint(settings=recorded), {})
    assert found == CRLNSettings(cps_weight=0.3, histogram_matching=0.0)


@pytest.mark.parametrize(
    "loaded", [{}, {CHECKPOINT_STATE: {}}, {"init_args": {}, CHECKPOINT_STATE: {}}, checkpoint(settings={"gone": 1})]
)
def test_settings_that_cannot_be_read_are_unknown(loaded):
    assert settings_of_checkpoint(loaded, {}) is None


def test_a_new_version_changes_only_what_the_plans_name():
    before = CRLNSettings(num_prototypes=16, ema_decay=0.9, **FORMER_DEFAULTS)
    # ema_decay has left the block, and confidence_threshold has come in.
    now = CRLNSettings(num_prototypes=16, confidence_threshold=0.5)
    named = {*named_in_checkpoint(checkpoint()), "num_prototypes", "confidence_threshold"}
    kept = with_defaults_of_checkpoint(now, before, named)
    assert changed_settings(before, kept) == {
        "ema_decay": (0.9, CRLNSettings().ema_decay),
        "confidence_threshold": (0.95, 0.5),
    }


def test_architecture_and_labels_are_compared_entry_by_entry():
    now = copy.deepcopy(INIT)
    now["plans"]["configurations"]["base"]["architecture"]["arch_kwargs"]["features"] = [4, 16]
    now["dataset_json"]["labels"]["b"] = 2
    assert changed_architecture(INIT, INIT) == {}
    assert changed_architecture(INIT, now) == {
        "architecture.arch_kwargs.features": ([4, 8], [4, 16]),
        "labels (dataset.json).b": (None, 2),
    }
    assert "features: [4, 8] → [4, 16]" in describe(changed_architecture(INIT, now))


def test_torchs_list_of_tensors_becomes_the_setting_that_changed():
    settings = {"num_prototypes": (16, 4), "ema_decay": (0.9, 0.99)}
    with pytest.raises(UserError) as caught, explaining_other_shapes("latest.pth", settings, {}):
        torch.nn.Linear(2, 3).load_state_dict(torch.nn.Linear(2, 4).state_dict())
    message = str(caught.value)
    assert "latest.pth" in message and "num_prototypes: 16 → 4" in message and "size mismatch" not in message
    assert "ema_decay: " not in message and len(message) < 1000


def test_without_a_change_torchs_text_is_shown():
    with pytest.raises(UserError, match="size mismatch"), explaining_other_shapes("latest.pth", {}, {}):
        torch.nn.Linear(2, 3).load_state_dict(torch.nn.Linear(2, 4).state_dict())


def test_only_the_named_settings_decide_the_shape_of_the_heads():
    def shapes(**changes):
        heads = Heads((8, 8, 4), 3, 3, CRLNSettings(**changes))
        return {name: tuple(value.shape) for name, value in heads.state_dict().items()}

    others = {"ema_decay": 0.5, "cps_weight": 2.0, "num_anchors": 8, "confidence_threshold": 0.5, "mu_initial": 0.3}
    assert not set(others) & set(SHAPING)
    assert shapes(**others) == shapes()
    assert shapes(num_prototypes=4) != shapes() != shapes(cps=False)
