"""Requested configurations that no planning can bring about."""

import json

import pytest
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

from nnunetv2_crln.cli.plan_and_preprocess import read_options
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.plan_and_preprocess import configurations
from nnunetv2_crln.plan_and_preprocess.configurations import refuse_unknown_configurations
from nnunetv2_crln.plan_and_preprocess.pipeline import plan_and_preprocess
from nnunetv2_crln.raw_dataset.folders import find_dataset


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("requested", ["3d_fulres", "2d 3d_fulres", "mine"])
def test_a_misspelt_configuration_is_refused_before_anything_is_written(make_dataset, nnunet_folders, requested):
    folder = nnunet_folders.preprocessed / make_dataset().name
    folder.mkdir(parents=True)
    (folder / "nnUNetPlans.json").write_text('{"configurations": {"mind": {"batch_size": 3}}}')
    before = files(folder)
    with pytest.raises(UserError, match=r"^-c (3d_fulres|mine): nnU-Net plans 2d, .* Did you mean (3d_fullres|mind)\?"):
        plan_and_preprocess(read_options(f"-d 999 -np 1 -npfp 1 -c {requested}".split()))
    assert files(folder) == before


@pytest.mark.parametrize("requested", ["2d 3d_fullres 3d_lowres 3d_cascade_fullres", "mine"])
def test_what_nnunet_plans_and_what_a_user_has_added_is_accepted(make_dataset, nnunet_folders, requested):
    folder = nnunet_folders.preprocessed / make_dataset().name
    folder.mkdir(parents=True)
    (folder / "nnUNetPlans.json").write_text(json.dumps({"configurations": {"mine": {"batch_size": 3}}}))
    refuse_unknown_configurations([find_dataset(999)], read_options(f"-d 999 -c {requested}".split()))


def test_a_planner_with_plans_of_its_own_may_plan_any(make_dataset, monkeypatch):
    class Own(ExperimentPlanner):
        def plan_experiment(self):
            """Plan otherwise."""

    make_dataset()
    options = read_options(["-d", "999", "-c", "theirs"])
    monkeypatch.setattr(configurations, "find_nnunet_class", lambda *_: Own)
    refuse_unknown_configurations([find_dataset(999)], options)
