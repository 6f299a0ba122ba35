"""Our blocks of the plans survive planning."""

import json

import pytest

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.plan_and_preprocess.crln_blocks import keep_own_entries


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


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"crln": {"sed": 7}}, r"nnUNetPlans\.json, configuration 2d: .*sed"),
        ({"short_schedule": {"sed": 7}}, r"nnUNetPlans\.json, configuration 2d: .*sed"),
        ({"CRLN": {"seed": 7}}, r"nnUNetPlans\.json: configuration '2d' has the entry 'CRLN'"),
    ],
)
def test_bad_block_is_refused_before_planning(tmp_path, entries, message):
    write_plans(tmp_path / "nnUNetPlans.json", **{"2d": entries})
    with pytest.raises(UserError, match=message), keep_own_entries(tmp_path):
        pytest.fail("planned")


def test_damaged_plans(tmp_path):
    (tmp_path / "nnUNetPlans.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"), keep_own_entries(tmp_path):
        pytest.fail("planned")
