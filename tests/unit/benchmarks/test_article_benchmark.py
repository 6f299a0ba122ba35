"""benchmarks/article.py: folds, reduced plans, settings of each row, and the table."""

import argparse
import copy
import json
import tarfile
from types import SimpleNamespace

import article as benchmark
import article_experiments as experiments
import article_tables as tables
import numpy as np
import pytest
import SimpleITK as sitk
from runs import write_result

from nnunetv2_crln.networks.vnet import VNet
from nnunetv2_crln.plan_and_preprocess.article import VNET, find_protocol
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training import variants
from nnunetv2_crln.training.variants import nnUNetTrainer_article, nnUNetTrainer_short

LABELLED = [f"a{i}" for i in range(8)]
OTHERS = [f"b{i:02d}" for i in range(72)]


def options(tmp_path, **change):
    values = {
        **{"article": "left_atrium", "num_labelled": 8, "scale": 2, "features": 8, "iterations": 800},
        **{"learning_rate": 0.05, "folds": [0], "fold": 0, "seeds": [0], "seed": 0, "network": "article"},
        **{
            "networks": ["article", "nnunet"],
            "experiments": ["main"],
            "method": None,
            "override": [],
            "best": False,
            "deploy": None,
        },
        **{"device": "cpu", "jobs": 1, "work": tmp_path, "results": tmp_path / "results"},
    }
    return argparse.Namespace(**{**values, **change})


@pytest.mark.parametrize("fold", [0, 1, 2])
def test_folds_are_disjoint_parts_of_the_training_cases(fold):
    labelled, unlabelled, held_out = benchmark.choose(LABELLED, OTHERS, fold)
    assert (len(labelled), len(unlabelled), len(held_out)) == (8, 52, 20)
    assert sorted([*labelled, *unlabelled, *held_out]) == sorted(LABELLED + OTHERS)
    assert benchmark.choose(LABELLED, OTHERS, fold) == (labelled, unlabelled, held_out)
    assert (labelled == LABELLED) == (fold == 0)


def test_folds_hold_out_different_cases():
    held_out = [set(benchmark.choose(LABELLED, OTHERS, fold)[2]) for fold in range(3)]
    assert not held_out[0] & held_out[1] and not held_out[1] & held_out[2]


def test_without_a_fold_the_protocol_stands():
    assert benchmark.choose(LABELLED, OTHERS, None) == (LABELLED, OTHERS, [])


def test_half_resolution_has_half_the_patch_and_a_network_that_fits_it():
    parent = {"spacing": [0.625] * 3}
    configuration = {"patch_size": [80, 112, 112], "architecture": copy.deepcopy(VNET)}
    benchmark.reduce_resolution(configuration, parent, "plans", 2)
    assert configuration["spacing"] == [1.25] * 3 and configuration["patch_size"] == [40, 56, 56]
    kwargs = configuration["architecture"]["arch_kwargs"]
    benchmark.narrow(kwargs, 8, dropout=True)
    network = VNet(1, 2, **{key: value for key, value in kwargs.items() if key != "norm_op"})
    assert network.encoder.output_channels == [8, 16, 32, 64]
    assert all(size % 8 == 0 for size in configuration["patch_size"])


@pytest.mark.parametrize("name", list(experiments.METHODS))
def test_every_row_is_a_trainer_and_valid_settings(tmp_path, name):
    trainers = {
        **vars(variants),
        "nnUNetTrainer_article": nnUNetTrainer_article,
        "nnUNetTrainer_short": nnUNetTrainer_short,
    }
    protocol = find_protocol("left_atrium", 8).settings
    for network in ("article", "nnunet"):
        args = options(tmp_path, method=name, network=network)
        trainer = trainers[experiments.TRAINERS[network][experiments.METHODS[name].trainer]]
        CRLNSettings.from_plans(
            {"crln": experiments.settings_of(args, protocol)}, **getattr(trainer, "fixed_settings", {})
        )


def test_a_shorter_training_starts_to_rectify_at_the_same_share(tmp_path):
    protocol = find_protocol("left_atrium", 8).settings
    at = [
        experiments.settings_of(options(tmp_path, method=m), protocol)["rectification_start"]
        for m in ("crln", "start_2000")
    ]
    assert at == [16, 40]
    assert "rectification_start" not in experiments.settings_of(options(tmp_path, method="our_settings"), protocol)


def test_rows_of_all_experiments_differ_in_what_is_trained(tmp_path):
    protocol = find_protocol("left_atrium", 8).settings
    for _, methods in experiments.EXPERIMENTS.values():
        made = [
            (experiments.METHODS[m].trainer, json.dumps(experiments.settings_of(options(tmp_path, method=m), protocol)))
            for m in methods
        ]
        assert len(set(made)) == len(made)


def test_the_queue_holds_each_run_once_and_nnunets_network_no_ablations(tmp_path):
    queue = benchmark.queued(options(tmp_path, experiments=["main", "table5"], folds=[0, 1]))
    names = [run.name for run in queue]
    assert len(set(names)) == len(names)
    assert sum("__article__" in name for name in names) == 2 * 8
    assert sum("__nnunet__" in name for name in names) == 2 * 4
    command = queue[0].command
    assert command[command.index("--fold") + 1] == "0" and command[command.index("--features") + 1] == "8"


def test_a_value_that_the_whole_crln_has_is_no_run_of_its_own(tmp_path):
    figures = ["main", "fig10", "fig12", "fig13"]
    names = experiments.methods_of(options(tmp_path, experiments=figures), "article")
    assert {"prototypes_16", "start_800", "xi_0.6"}.isdisjoint(names) and names.count("crln") == 1
    assert {"prototypes_8", "start_400", "xi_0.8", "our_settings"} <= set(names)
    pancreas = options(tmp_path, experiments=figures, article="pancreas_ct", num_labelled=6)
    names = experiments.methods_of(pancreas, "article")
    assert "prototypes_4" not in names and "prototypes_16" in names


def result(method, network, dice, fold=0):
    metrics = {"Jaccard": dice / 2, "ASD_voxel": 2.0, "HD95_voxel": 9.0}
    cases = {f"case{i}": {"Dice": dice + i / 100, **metrics} for i in range(4)}
    run = {"method": method, "network": network, "fold": fold, "seed": 0, "override": {}, "learning_rate": 0.05}
    run |= {"article": "left_atrium", "num_labelled": 8, "scale": 2, "iterations": 800, "features": 8}
    name = "student" if method == "supervised" else "teacher"
    return {**run, "cases": {name: cases}, "best_checkpoint_diagnostic": {name: cases} if method == "crln" else {}}


def test_curves_are_shown_where_they_were_measured(tmp_path, capsys):
    args = options(tmp_path)
    names = ("mu", "confident_raw", "confident", "pseudo_dice_raw", "pseudo_dice", "pseudo_dice_map")
    logged = {f"crln_{name}": [i / 100 for i in range(20)] for name in names} | {"crln_pseudo_dice_map": [None] * 20}
    write_result(result("crln", "article", 0.8) | {"curves": logged}, args.results / "crln.json")
    write_result(result("supervised", "article", 0.8) | {"curves": {}}, args.results / "supervised.json")
    tables.curves(args)
    lines = capsys.readouterr().out.splitlines()
    assert "CRLN, whole, article, fold 0, seed 0" in lines
    assert lines[-1] == "| 800 | 0.19 | 19.00 | 19.00 | 19.00 | 19.00 | – |"
    assert sum(line.startswith("| ") for line in lines) == 11


def test_the_table_has_published_numbers_beside_ours(tmp_path, capsys):
    args = options(tmp_path, networks=["article"])
    for method, dice in (("supervised", 0.6), ("mean_teacher", 0.7), ("crln", 0.8)):
        write_result(result(method, "article", dice), args.results / f"{method}.json")
    write_result(result("crln", "article", 0.1) | {"iterations": 7}, args.results / "another_length.json")
    tables.table(args)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| article")]
    assert len(rows) == 4
    assert "61.50 ± " in rows[0] and "-10.00 [-10.00, -10.00]" in rows[0]
    assert rows[1].endswith("| 88.67±1.04, 79.90±1.59, 2.98±0.60, 10.97±3.14 |")
    assert "+10.00 [+10.00, +10.00]" in rows[2] and "91.74±0.38" in rows[2]
    assert "best epoch (diagnostic only)" in rows[3] and "91.74" not in rows[3]


def test_a_method_of_several_folds_has_a_row_over_all_their_cases(tmp_path, capsys):
    args = options(tmp_path, networks=["article"], experiments=["fig13"], folds=[0, 1])
    for fold, dice in ((0, 0.6), (1, 0.8)):
        write_result(result("crln", "article", dice, fold), args.results / f"crln{fold}.json")
        write_result(result("xi_0.2", "article", dice - 0.1, fold), args.results / f"xi{fold}.json")
    write_result(result("mean_teacher", "article", 0.5), args.results / "mean_teacher.json")
    tables.table(args)
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| article")]
    whole = [row for row in rows if row[1] == "xi = 0.6" and "diagnostic" not in row[3]]
    assert [row[2] for row in whole] == ["fold 0", "fold 1", "fold 0, fold 1"]
    assert [row[4][:5] for row in whole] == ["61.50", "81.50", "71.50"]
    # The mean teacher of the second fold is missing: no difference over both.
    assert [bool(row[8].strip()) for row in whole] == [True, False, False]
    assert [row[9].startswith("91.74") for row in whole] == [True, False, False]
    assert [row[4][:5] for row in rows if row[1] == "xi = 0.2"] == ["51.50", "71.50", "61.50"]


def test_several_seeds_of_a_case_are_one_case():
    runs = [
        {"fold": 0, "seed": seed, "cases": {"teacher": {"a": dict.fromkeys(tables.METRICS, 0.2 + 0.4 * seed)}}}
        for seed in (0, 1)
    ]
    assert tables.over_runs(runs, "teacher") == {"0 a": pytest.approx(dict.fromkeys(tables.METRICS, 0.4))}
    runs[1]["cases"]["teacher"]["a"]["HD95_voxel"] = None
    assert tables.over_runs(runs, "teacher")["0 a"]["HD95_voxel"] is None


@pytest.mark.parametrize("largest_component", [False, True])
def test_predictions_are_an_archive_of_masks_in_the_geometry_of_the_images(tmp_path, monkeypatch, largest_component):
    image = sitk.GetImageFromArray(np.zeros((4, 5, 6), np.float32))
    image.SetSpacing((0.5, 1.0, 2.0))
    sitk.WriteImage(image, str(tmp_path / "heart_0000.nii.gz"))
    found = np.zeros((4, 5, 6), np.uint8)
    found[:2, :2, :2] = found[3, 4, 5] = 1
    trainer = SimpleNamespace(load_checkpoint=lambda file: None, output_folder=tmp_path)
    monkeypatch.setattr(benchmark, "build_trainer", lambda args: trainer)
    monkeypatch.setattr(benchmark, "deployable", lambda trainer, deploy: {deploy: None})
    monkeypatch.setattr(benchmark, "segmenter", lambda *_: lambda file: found.copy())
    chosen = {"method": "crln", "deploy": "student", "step_size": 0.5, "largest_component": largest_component}
    benchmark.predict(options(tmp_path, images=tmp_path, output=tmp_path / "masks.tar.gz", **chosen))
    with tarfile.open(tmp_path / "masks.tar.gz") as archive:
        assert archive.getnames() == ["heart.nii.gz"]
        archive.extract("heart.nii.gz", tmp_path / "extracted", filter="data")
    mask = sitk.ReadImage(str(tmp_path / "extracted" / "heart.nii.gz"))
    assert mask.GetSpacing() == (0.5, 1.0, 2.0)
    assert sitk.GetArrayFromImage(mask).sum() == (8 if largest_component else 9)
