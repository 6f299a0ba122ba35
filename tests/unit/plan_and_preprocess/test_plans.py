"""Steps before and after nnU-Net's planning."""

import json

import pytest
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.plan_and_preprocess.crln_blocks import keep_own_entries
from nnunetv2_crln.plan_and_preprocess.planners import find_nnunet_class, planner_default
from nnunetv2_crln.plan_and_preprocess.summary import describe_configuration
from nnunetv2_crln.raw_dataset.folders import find_dataset


def write_plans(path, **configurations):
    path.write_text(json.dumps({"configurations": configurations}))


def test_block_survives_new_plans(tmp_path):
    path = tmp_path / "nnUNetPlans.json"
    write_plans(
        path, **{"2d": {"a": 1}, "3d_fullres": {"a": 1, "crln": {"seed": 7}, "short_schedule": {"num_epochs": 3}}}
    )
    (tmp_path / "splits_final.json").write_text("[]")
    with keep_own_entries(tmp_path) as kept:
        write_plans(path, **{"2d": {"a": 2}, "3d_fullres": {"a": 2}})
    assert json.loads(path.read_text(encoding="utf-8"))["configurations"] == {
        "2d": {"a": 2},
        "3d_fullres": {"a": 2, "crln": {"seed": 7}, "short_schedule": {"num_epochs": 3}},
    }
    assert kept == [f'"{key}" block of 3d_fullres in nnUNetPlans.json' for key in ("crln", "short_schedule")]


def test_block_survives_a_crash(tmp_path):
    path = tmp_path / "nnUNetPlans.json"
    write_plans(path, **{"2d": {"crln": {"seed": 7}}})
    with pytest.raises(KeyboardInterrupt), keep_own_entries(tmp_path):
        write_plans(path, **{"2d": {}})
        raise KeyboardInterrupt
    assert json.loads(path.read_text(encoding="utf-8"))["configurations"]["2d"] == {"crln": {"seed": 7}}


def test_no_plans_yet(tmp_path):
    with keep_own_entries(tmp_path / "none") as kept:
        pass
    assert kept == []


def test_bad_block_is_refused_before_planning(tmp_path):
    write_plans(tmp_path / "nnUNetPlans.json", **{"2d": {"crln": {"sed": 7}}})
    with pytest.raises(UserError, match=r"nnUNetPlans\.json, configuration 2d: .*sed"), keep_own_entries(tmp_path):
        pytest.fail("planned")


def test_damaged_plans(tmp_path):
    (tmp_path / "nnUNetPlans.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"), keep_own_entries(tmp_path):
        pytest.fail("planned")


@pytest.mark.parametrize(
    ("block", "parts"),
    [
        (
            {},
            [
                "batch 4 labelled + 4 unlabelled",
                "about 2.0 times",
                "gpu_memory_target 4,",
                '"unlabelled_batch_size": 2',
            ],
        ),
        ({"unlabelled_batch_size": 2}, ["4 labelled + 2 unlabelled", "about 1.5 times", '"unlabelled_batch_size": 1']),
    ],
)
def test_description_tells_memory_and_how_to_save_it(block, parts):
    configuration = {"batch_size": 4, "patch_size": [8, 8], "crln": block, "architecture": {}}
    text = describe_configuration(PlansManager({"configurations": {"2d": configuration}}), "2d", 8)
    assert all(part in text for part in parts)


def test_a_batch_of_one_gets_two_unlabelled_patches():
    configuration = {"batch_size": 1, "patch_size": [8], "architecture": {}}
    text = describe_configuration(PlansManager({"configurations": {"2d": configuration}}), "2d", None)
    assert "1 labelled + 2 unlabelled" in text and "about 3.0 times" in text


def test_nothing_smaller_than_one_unlabelled_patch_is_proposed():
    configuration = {"batch_size": 2, "patch_size": [8], "crln": {"unlabelled_batch_size": 1}, "architecture": {}}
    text = describe_configuration(PlansManager({"configurations": {"2d": configuration}}), "2d", None)
    assert "unlabelled_batch_size" not in text and "half the -gpu_memory_target" in text


def test_classes_of_nnunet():
    planner = find_nnunet_class("experiment_planning", "nnUNetPlannerResEncL", "-pl")
    assert planner_default(planner, "plans_name") == "nnUNetResEncUNetLPlans"
    assert planner_default(planner, "gpu_memory_target_in_gb") == 24
    with pytest.raises(UserError, match="-pl Planer: nnU-Net has no such class"):
        find_nnunet_class("experiment_planning", "Planer", "-pl")


def test_folders_of_a_dataset(make_dataset, nnunet_folders, monkeypatch):
    raw = make_dataset()
    found = find_dataset(999)
    assert (found.raw, found.preprocessed) == (raw, nnunet_folders.preprocessed / raw.name)
    with pytest.raises(UserError, match=r"No folder Dataset007_… .*Found there: Dataset999_Synthetic"):
        find_dataset(7)
    make_dataset(name="Other", unlabelled=0, test=0)
    with pytest.raises(UserError, match=r"several names .*Dataset999_Other, Dataset999_Synthetic"):
        find_dataset(999)
    monkeypatch.setenv("nnUNet_raw", "/nowhere")
    with pytest.raises(UserError, match="'/nowhere', expected an existing folder"):
        find_dataset(999)
    monkeypatch.delenv("nnUNet_raw")
    monkeypatch.setenv("NNUNET_RAW", "/nowhere")
    with pytest.raises(UserError, match="nnUNet_raw is not set, but NNUNET_RAW is"):
        find_dataset(999)
