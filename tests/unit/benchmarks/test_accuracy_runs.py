"""Runs of the accuracy benchmark: names, what they need, settings of the paper's ablations, and predictions."""

import copy
import json
import tarfile
from dataclasses import replace
from types import SimpleNamespace

import article_experiments
import bench
import measuring
import numpy as np
import pytest
import SimpleITK as sitk
import trainers
from article_experiments import EXPERIMENTS, settings_of, trained_as
from methods import ABLATIONS, ARTICLE_ITERATIONS, METHODS
from preparing import enlarge_voxels, narrow
from runs import Run, result_file, with_needs

from nnunetv2_crln.comparison.options import TRAINERS
from nnunetv2_crln.networks.vnet import VNet
from nnunetv2_crln.plan_and_preprocess.article import VNET, find_protocol
from nnunetv2_crln.settings import CRLNSettings

RUN = Run("hippocampus", "crln", 4, 0, 600, 0.05, 1000)
PAPER = Run("left_atrium", "crln", 8, 0, 800, plan="article")
PROTOCOL = find_protocol("left_atrium", 8).settings
CHANGES = {
    **{"bed": "acdc", "method": "mean_teacher", "labelled": 8, "draw": 1, "iterations": 700, "learning_rate": 0.1},
    **{
        "warm_start": 0,
        "plan": "narrow",
        "scale": 2,
        "features": 8,
        "judge": "dev",
        "override": (("cps_weight", 0.1),),
    },
}


@pytest.mark.parametrize("field", CHANGES)
def test_runs_that_differ_have_different_names(field):
    assert replace(RUN, **{field: CHANGES[field]}).name != RUN.name


def test_what_changes_no_training_changes_no_name():
    assert replace(RUN, override=(("monitor_every", 3),), device="cuda").name == RUN.name


@pytest.mark.parametrize("run", [RUN, replace(RUN, override=(("cps_weight", 0.1),), judge="dev"), PAPER])
def test_a_run_is_made_by_the_command_that_it_gives(run, monkeypatch):
    monkeypatch.setattr("sys.argv", ["bench.py", "one", "--work", "w", *run.arguments()])
    assert bench.runs_of(bench.parse()) == [run]


def test_all_methods_of_a_draw_start_from_one_supervised_training():
    methods = [replace(RUN, method=method) for method in METHODS]
    queue = with_needs(methods)
    assert len(queue) == len(METHODS) + 1 and queue[0] == RUN.warm()
    assert {run.warm().name for run in methods} == {queue[0].name}
    names = [run.name for run in queue]
    assert all(names.index(need.name) < names.index(run.name) for run in queue for need in run.needed())
    recipe = replace(RUN, method="recipe")
    assert [need.method for need in recipe.needed()] == ["supervised"] and recipe.needed()[0].iterations == 600


def test_the_ranking_needs_the_model_that_ranks():
    ranked, random = (replace(RUN, method=f"add_{kind}") for kind in ("ranked", "random"))
    assert ranked.needed() == [RUN.warm(), RUN] and random.needed() == [RUN.warm()]


def test_datasets_of_a_bed_have_different_numbers_and_derived_ones_others():
    kinds = ("crln", "recipe", "add_ranked", "add_random", "crln_no_scans")
    runs = [replace(RUN, labelled=n, draw=d, method=m) for n in (2, 4, 8) for d in (0, 19) for m in kinds]
    assert len({trainers.training_dataset(run)[7:10] for run in runs}) == len(runs)
    with pytest.raises(SystemExit, match="2, 4, 8"):
        _ = replace(RUN, labelled=5).dataset


def test_development_results_lie_apart(tmp_path):
    assert result_file(tmp_path, replace(RUN, judge="dev")).parent == tmp_path / "hippocampus" / "dev"
    assert result_file(tmp_path, RUN).parent == tmp_path / "hippocampus"


# ---------------------------------------------------------------------------- trainers and settings


@pytest.mark.parametrize("name", list(ABLATIONS))
def test_every_ablation_is_a_trainer_and_valid_settings(name):
    run = replace(PAPER, method=name)
    trainer = trainers.trainer_class(run)
    assert trainer.__name__.endswith("_article")
    CRLNSettings.from_plans({"crln": settings_of(run, PROTOCOL)}, **getattr(trainer, "fixed_settings", {}))


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_is_a_trainer_with_our_defaults(name):
    run = replace(RUN, method=name)
    assert trainers.trainer_class(run).__name__.endswith("_short")
    assert settings_of(run, PROTOCOL) == {"overlay_every": 0, "quality_cases": 0, "save_every": 2, "seed": 0}


@pytest.mark.parametrize(("plan", "table"), [(None, METHODS), ("article", ABLATIONS)])
def test_methods_of_the_same_name_are_those_of_the_comparison_command(plan, table):
    ending = "_article" if plan else "_short"
    for name in set(TRAINERS) & set(table):
        trainer = trainers.trainer_class(replace(PAPER if plan else RUN, method=name))
        assert trainer.__name__ == TRAINERS[name] + ending, name


@pytest.mark.parametrize(
    ("name", "trainer"),
    [
        ("supervised_double_batch", "nnUNetTrainer_short"),
        ("add_random", "nnUNetTrainer_short"),
        ("add_ranked", "nnUNetTrainer_short"),
        ("mean_teacher_no_scans", "nnUNetTrainer_MeanTeacher_short"),
        ("crln_no_scans", "nnUNetTrainer_CRLN_short"),
        ("oracle", "nnUNetTrainer_Oracle_short"),
    ],
)
def test_a_control_has_the_trainer_of_what_it_controls(name, trainer):
    assert trainers.trainer_class(replace(RUN, method=name)).__name__ == trainer


def test_a_shorter_training_starts_to_rectify_at_the_same_share():
    at = [settings_of(replace(PAPER, method=m), PROTOCOL)["rectification_start"] for m in ("crln", "start_1600")]
    assert at == [round(PROTOCOL["rectification_start"] / ARTICLE_ITERATIONS * 800), 32]


def test_one_value_of_each_ablation_is_the_whole_method():
    for experiment, alike in (("fig10", "prototypes_16"), ("fig12", "start_800"), ("fig13", "xi_0.6")):
        whole = [m for m in EXPERIMENTS[experiment][1] if trained_as(replace(PAPER, method=m)).method == "crln"]
        assert whole == [alike]
    assert article_experiments.WHOLE == "crln" and trained_as(replace(RUN, method="supervised")).method == "supervised"


def test_half_resolution_has_half_the_patch_and_a_network_that_fits_it():
    configuration = {"patch_size": [80, 112, 112], "architecture": copy.deepcopy(VNET)}
    enlarge_voxels(configuration, {"spacing": [0.625] * 3}, 2)
    assert configuration["spacing"] == [1.25] * 3 and configuration["patch_size"] == [40, 56, 56]
    network = configuration["architecture"]["arch_kwargs"]
    narrow(network, 8)
    built = VNet(1, 2, **{key: value for key, value in network.items() if key != "norm_op"})
    assert built.encoder.output_channels == [8, 16, 32, 64]
    assert all(size % 8 == 0 for size in configuration["patch_size"])


# ---------------------------------------------------------------------------- measuring and predicting


def write_image(path, array, spacing=(0.5, 1.0, 2.0)):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))


def test_every_case_and_class_is_measured(tmp_path):
    label = np.zeros((4, 5, 6), np.uint8)
    label[:2], label[2:] = 1, 2
    write_image(tmp_path / "a.nii.gz", label)
    case = SimpleNamespace(name="a", images=(tmp_path / "a_0000.nii.gz",), label=tmp_path / "a.nii.gz")
    found = measuring.measure(lambda images: np.where(label == 1, 1, 0), [case], {"background": 0, "one": 1, "two": 2})
    assert found["a"]["one"]["Dice"] == 1 and found["a"]["two"]["Dice"] == 0
    assert found["a"]["one"]["HD95_mm"] == 0 and set(found["a"]["one"]) == set(measuring.METRICS)
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(("option", "voxels"), [([], 9), (["--largest_component"], 8)])
def test_predictions_are_an_archive_of_masks_in_the_geometry_of_the_images(tmp_path, monkeypatch, option, voxels):
    write_image(tmp_path / "heart_0000.nii.gz", np.zeros((4, 5, 6), np.float32))
    found = np.zeros((4, 5, 6), np.uint8)
    found[:2, :2, :2] = found[3, 4, 5] = 1
    monkeypatch.setattr(trainers, "build_trainer", lambda *_: SimpleNamespace(load_checkpoint=lambda file: None))
    monkeypatch.setattr(measuring, "networks", lambda trainer: {"teacher": None, "student": None})
    monkeypatch.setattr(measuring, "segmenter", lambda *_: lambda files: found.copy())
    archive = tmp_path / "out" / "masks.tar.xz"
    files = ["--images", str(tmp_path), "--output", str(archive)]
    monkeypatch.setattr("sys.argv", ["bench.py", "predict", "--work", str(tmp_path), *RUN.arguments(), *files, *option])
    for key in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_def_n_proc", "nnUNet_n_proc_DA"):
        monkeypatch.setenv(key, "")  # restored afterwards
    assert bench.main() == 0
    with tarfile.open(archive) as tar:
        assert tar.getnames() == ["heart.nii.gz"]
        (tmp_path / "extracted.nii.gz").write_bytes(tar.extractfile("heart.nii.gz").read())
    mask = sitk.ReadImage(str(tmp_path / "extracted.nii.gz"))
    assert mask.GetSpacing() == (0.5, 1.0, 2.0) and sitk.GetArrayFromImage(mask).sum() == voxels
