"""Plans for small machines."""

import copy
import json

import pytest

from nnunetv2_crln.plan_and_preprocess.small_plans import (
    small_configuration,
    small_plans_are_outdated,
    write_small_plans,
)
from nnunetv2_crln.utilities.json_files import write_json

KIDNEY = {
    "data_identifier": "nnUNetPlans_3d_fullres",
    "batch_size": 2,
    "patch_size": [128, 160, 112],
    "spacing": [1.0, 0.8, 0.8],
    "architecture": {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": 6,
            "features_per_stage": [32, 64, 128, 256, 320, 320],
            "kernel_sizes": [[3, 3, 3]] * 6,
            "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2]],
            "n_conv_per_stage": [2] * 6,
            "n_conv_per_stage_decoder": [2] * 5,
            "conv_bias": True,
        },
    },
}


@pytest.mark.parametrize(
    ("patch", "small", "stages"),
    [([128, 160, 112], [64, 64, 64], 5), ([40, 56, 40], [40, 56, 40], 4), ([20, 320, 256], [20, 64, 64], 3)],
)
def test_patch_and_network_fit_each_other(patch, small, stages):
    changed = small_configuration({**KIDNEY, "patch_size": patch})
    network = changed["architecture"]["arch_kwargs"]
    assert (changed["patch_size"], network["n_stages"]) == (small, stages)
    assert network["features_per_stage"] == [8, 16, 32, 64, 80, 80][:stages]
    assert len(network["strides"]) == len(network["kernel_sizes"]) == len(network["n_conv_per_stage"]) == stages
    assert len(network["n_conv_per_stage_decoder"]) == stages - 1


def test_only_small_plans_of_the_same_data_and_another_spacing_are_outdated(tmp_path):
    plans = {"plans_name": "P", "configurations": {"3d": {"data_identifier": "P_3d", "spacing": [1, 1, 1]}}}
    write_json(plans, tmp_path / "P.json")
    assert not small_plans_are_outdated(tmp_path / "P.json")
    for data, spacing, outdated in (("P_3d", 1, False), ("P_3d", 2, True), ("own_3d", 2, False)):
        small = {"3d": {"data_identifier": data, "spacing": [spacing, 1, 1]}, "mine": {"inherits_from": "3d"}}
        write_json({"plans_name": "P_small", "configurations": small}, tmp_path / "P_small.json")
        assert small_plans_are_outdated(tmp_path / "P.json") == outdated


def test_planning_again_keeps_configurations_that_the_user_added(tmp_path):
    plans = {"plans_name": "P", "configurations": {"3d": KIDNEY, "cascade": {"inherits_from": "3d"}}}
    write_json(plans, tmp_path / "P.json")
    small = write_small_plans(tmp_path / "P.json")
    own = {"inherits_from": "3d", "batch_size": 4}
    content = json.loads(small.read_text())
    content["configurations"] |= {"mine": own, "3d": {"patch_size": [8, 8, 8]}}
    write_json(content, small)
    configurations = json.loads(write_small_plans(tmp_path / "P.json").read_text())["configurations"]
    assert configurations == {"3d": small_configuration(KIDNEY), "mine": own}


def test_the_preprocessed_data_are_shared_and_the_originals_stay(tmp_path):
    plans = {
        "plans_name": "nnUNetPlans",
        "configurations": {"3d_fullres": KIDNEY, "3d_cascade_fullres": {"inherits_from": "3d_fullres"}},
    }
    path = tmp_path / "nnUNetPlans.json"
    path.write_text(json.dumps(copy.deepcopy(plans)))
    written = json.loads(write_small_plans(path).read_text())
    assert written["plans_name"] == "nnUNetPlans_small" and list(written["configurations"]) == ["3d_fullres"]
    for key in ("data_identifier", "spacing"):
        assert written["configurations"]["3d_fullres"][key] == KIDNEY[key]
    assert json.loads(path.read_text()) == plans


def test_the_low_resolution_does_not_wait_for_the_cascade_that_is_left_out(tmp_path):
    low = {**copy.deepcopy(KIDNEY), "next_stage": "3d_cascade_fullres"}
    plans = {"plans_name": "nnUNetPlans", "configurations": {"3d_lowres": low, "3d_cascade_fullres": {}}}
    path = tmp_path / "nnUNetPlans.json"
    path.write_text(json.dumps(plans))
    written = json.loads(write_small_plans(path).read_text())["configurations"]
    assert list(written) == ["3d_lowres"] and "next_stage" not in written["3d_lowres"]
