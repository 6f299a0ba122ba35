"""Faults that a training refuses before it starts."""

import pytest

from nnunetv2_crln.training.checks import plans_file, refuse_cascade

PLANS = {
    "configurations": {
        "3d_fullres": {"architecture": {}},
        "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
    }
}


def test_plain_configurations_are_allowed():
    refuse_cascade(PLANS, "3d_fullres")


def test_a_cascade_is_refused_with_the_way_out():
    with pytest.raises(NotImplementedError, match=r"'3d_cascade_fullres'.*train 3d_fullres"):
        refuse_cascade(PLANS, "3d_cascade_fullres")


def test_plans_are_named_by_their_file(monkeypatch):
    monkeypatch.setenv("nnUNet_preprocessed", "/data")
    assert str(plans_file({"dataset_name": "Dataset001_X", "plans_name": "mine"})) == "/data/Dataset001_X/mine.json"
