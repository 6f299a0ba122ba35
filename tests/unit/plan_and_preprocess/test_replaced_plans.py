"""Plans that planning changes are kept, and the change is named."""

import json
from pathlib import Path

import pytest

from nnunetv2_crln.plan_and_preprocess.replaced_plans import keep_replaced_plans

HEADER = {"dataset_name": "D", "plans_name": "nnUNetPlans", "image_reader_writer": "R", "transpose_forward": [0]}


def write_plans(path, **entry):
    path.write_text(json.dumps({**HEADER, "configurations": {"3d_fullres": entry, "2d": {"patch_size": [8, 8]}}}))


def test_changed_plans_are_kept_under_a_name_that_is_free(tmp_path):
    path = tmp_path / "nnUNetPlans.json"
    write_plans(path, patch_size=[32, 40, 40], spacing=[1, 1, 1.25])
    first = path.read_bytes()
    for size in ([64, 96, 96], [64, 64, 64]):
        with keep_replaced_plans(tmp_path) as warnings:
            write_plans(path, patch_size=size, spacing=[1, 1, 1.25])
        (warning,) = warnings
    assert "patch_size of 3d_fullres from 64 × 96 × 96 to 64 × 64 × 64" in warning and "spacing" not in warning
    assert "nnUNetPlans.json.replaced1" in warning and "2d" not in warning
    assert (tmp_path / "nnUNetPlans.json.replaced").read_bytes() == first
    assert json.loads((tmp_path / "nnUNetPlans.json.replaced1").read_text())["configurations"]["3d_fullres"][
        "patch_size"
    ] == [64, 96, 96]


def test_what_no_network_depends_on_may_change_silently(tmp_path):
    write_plans(tmp_path / "nnUNetPlans.json", patch_size=[8, 8, 8], batch_size=2, crln={"seed": 1})
    (tmp_path / "splits_final.json").write_text("[]")
    with keep_replaced_plans(tmp_path) as warnings:
        write_plans(tmp_path / "nnUNetPlans.json", patch_size=[8, 8, 8], batch_size=4)
    assert warnings == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nnUNetPlans.json", "splits_final.json"]


@pytest.mark.parametrize(
    "damage",
    [lambda path: write_plans(path, patch_size=[4, 4, 4]), lambda path: path.write_text('{"conf'), Path.unlink],
    ids=["written", "half written", "removed"],
)
def test_plans_of_an_interrupted_planning_are_not_lost(tmp_path, damage):
    path = tmp_path / "nnUNetPlans.json"
    write_plans(path, patch_size=[8, 8, 8])
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), keep_replaced_plans(tmp_path):
        damage(path)
        raise KeyboardInterrupt
    assert (tmp_path / "nnUNetPlans.json.replaced").read_bytes() == before
