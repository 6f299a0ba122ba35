"""What a comparison trains, what it costs, what it can tell, and how its table reads."""

import contextlib
import json
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace

import numpy as np
import pytest
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO

from nnunetv2_crln.comparison import compare, estimate
from nnunetv2_crln.comparison.compare import _evaluate, training_command
from nnunetv2_crln.comparison.estimate import describe_cost, measure_methods
from nnunetv2_crln.comparison.held_out import held_out_cases, warn_about_few
from nnunetv2_crln.comparison.measure_step import RESULT_MARK
from nnunetv2_crln.comparison.options import CompareOptions
from nnunetv2_crln.comparison.table import comparison_table
from nnunetv2_crln.comparison.trainings import trainings
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.evaluation.comparison import compare_evaluations, paired_difference
from nnunetv2_crln.evaluation.metrics import METRICS
from nnunetv2_crln.preprocessed_dataset.unlabelled_status import UnlabelledStatus
from nnunetv2_crln.raw_dataset.folders import DatasetFolders, find_dataset
from nnunetv2_crln.reporting.blocks import render_page
from nnunetv2_crln.utilities.json_files import write_json


def options(**changes) -> CompareOptions:
    return CompareOptions(**{"dataset_id": 104, "configuration": "3d_fullres", "folds": (0, 2), **changes})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"methods": ("supervised", "clrn")}, "Did you mean crln"),
        ({"methods": ("crln",)}, "two or more different ones"),
        ({"epochs": 0}, "--epochs 0"),
        ({"gpus": (0, 1), "device": "cpu"}, "--gpus needs -device cuda"),
        ({"folds": (1, 1)}, "a fold is named twice"),
    ],
)
def test_wrong_options_are_named(changes, text):
    with pytest.raises(UserError, match=text):
        options(**changes)


def test_every_method_is_trained_on_every_fold():
    runs = trainings(options(), Path("results"))
    assert [(run.method, run.fold) for run in runs] == [
        (method, fold) for fold in (0, 2) for method in ("supervised", "mean_teacher", "crln")
    ]
    assert runs[-1].folder == Path("results/nnUNetTrainer_CRLN__nnUNetPlans__3d_fullres/fold_2")
    short = trainings(options(epochs=3, plans_name="nnUNetPlans_3epochs"), Path("results"))
    assert short[0].trainer == "nnUNetTrainer_short"


@pytest.mark.parametrize(
    ("method", "trainer"),
    [
        ("supervised", "nnUNetTrainer"),
        ("mean_teacher", "nnUNetTrainer_MeanTeacher"),
        ("crln_no_cps", "nnUNetTrainer_CRLN_noCPS"),
        ("crln", "nnUNetTrainer_CRLN"),
        ("recipe", "nnUNetTrainer"),
    ],
)
def test_every_method_has_the_trainer_of_its_name(method, trainer):
    methods = tuple({"supervised": None, "crln": None, method: None})
    for epochs, ending in ((None, ""), (3, "_short")):
        runs = trainings(options(methods=methods, epochs=epochs), Path("results"))
        assert {run.trainer for run in runs if run.method == method} == {trainer + ending}


def test_a_training_is_continued_and_one_without_validation_is_validated(tmp_path):
    run = trainings(options(output=tmp_path), tmp_path)[0]
    command = training_command(run, options(output=tmp_path))
    assert command.arguments[:7] == ["nnUNetv2_train", "104", "3d_fullres", "0", "-tr", "nnUNetTrainer", "-p"]
    assert command.arguments[-1] == "--c"
    run.folder.mkdir(parents=True)
    (run.folder / "checkpoint_final.pth").touch()
    assert not run.is_finished
    assert training_command(run, options(output=tmp_path)).arguments[-1] == "--val"
    run.validation.mkdir()
    (run.validation / "summary.json").touch()
    assert run.is_finished


def test_held_out_cases_come_from_the_split(tmp_path):
    labelled = [f"c{i}" for i in range(10)]
    assert sorted(map(len, held_out_cases(tmp_path, labelled, [0, 1, 2, 3, 4]).values())) == [2] * 5
    with pytest.raises(UserError, match="too few for nnU-Net's 5 folds"):
        held_out_cases(tmp_path, labelled[:4], [0])
    write_json([{"train": ["c1"], "val": ["c0"]}, {"train": ["c0", "c1"], "val": []}], tmp_path / "splits_final.json")
    assert held_out_cases(tmp_path, labelled, [0]) == {0: ["c0"]}
    with pytest.raises(UserError, match="holds out no completely labelled case"):
        held_out_cases(tmp_path, labelled, [0], leave_out=["c0"])
    with pytest.raises(UserError, match="holds out no completely labelled case"):
        held_out_cases(tmp_path, labelled, [1])
    with pytest.raises(UserError, match="has the folds 0 to 1"):
        held_out_cases(tmp_path, labelled, [2])


def test_a_fold_must_not_be_evaluated_on_its_training_cases(tmp_path):
    lists = [{"train": ["c1", "c2"], "val": ["c0"]}, {"train": ["c0", "c1", "c2"], "val": ["c2", "c0"]}]
    write_json(lists, tmp_path / "splits_final.json")
    assert held_out_cases(tmp_path, ["c0", "c1", "c2"], [0]) == {0: ["c0"]}
    with pytest.raises(UserError, match=r"fold 1, has 2 case\(s\) both in 'train' and in 'val': c0, c2\..*remove them"):
        held_out_cases(tmp_path, ["c0", "c1", "c2"], [0, 1])


def test_a_damaged_split_is_named(tmp_path):
    write_json([{"train": ["c1"]}], tmp_path / "splits_final.json")
    with pytest.raises(UserError, match=r"splits_final\.json is damaged \(KeyError: 'val'\)"):
        held_out_cases(tmp_path, ["c0", "c1"], [0])


def test_the_warning_about_five_cases_is_true():
    better_everywhere = paired_difference(np.linspace(0.8, 0.9, 5), np.linspace(0.5, 0.65, 5))
    assert better_everywhere["p_value"] > 0.05
    assert paired_difference(np.linspace(0.8, 0.9, 6), np.linspace(0.5, 0.65, 6))["p_value"] < 0.05
    assert "cannot tell two methods apart" in warn_about_few(5, all_folds=False)
    assert "More folds" in warn_about_few(19, all_folds=False)
    assert "More folds" not in warn_about_few(19, all_folds=True)
    assert warn_about_few(20, all_folds=False) == ""


def test_the_cost_counts_trainings_and_places():
    runs = trainings(options(methods=("supervised", "crln")), Path("results"))
    values = {"seconds": 0.1, "memory_gib": 7.5, "steps": 36_000.0}
    text = describe_cost(runs, {"supervised": values, "crln": {**values, "seconds": 0.2}}, 2, "cuda")
    assert "supervised: 2 training(s) of about 1 h 0 min (0.10 s a step), 7.5 GiB of GPU memory" in text
    assert "crln: 2 training(s) of about 2 h 0 min" in text
    assert "in all about 3 h 0 min, 2 at a time" in text


@pytest.mark.parametrize("methods", [("supervised", "recipe"), ("supervised", "crln")])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({}, r"lacks the images of 1 preprocessed case\(s\): gone\."),
        ({"class_2": 3}, r"class_2: 3 → 2\. .* Change it back"),
    ],
)
def test_a_recipe_that_cannot_be_written_is_refused_before_the_trainings(
    make_dataset, monkeypatch, methods, labels, message
):
    raw = make_dataset(dataset_id=104)
    folders = find_dataset(104)
    trained = json.loads((raw / "dataset.json").read_text(encoding="utf-8"))
    trained["labels"] |= labels
    folders.preprocessed.mkdir()
    write_json(trained, folders.preprocessed / "dataset.json")
    status = UnlabelledStatus(ready=["unl_000", "gone"], stale=[], missing=[])
    monkeypatch.setattr(compare, "unlabelled_cases_of", lambda *_: (Path("data"), status))
    chosen = options(methods=methods)
    arguments = trainings(chosen, Path("results")), chosen, folders, SimpleNamespace(plans={})
    refused = pytest.raises(UserError, match=message)
    with refused if "recipe" in methods else contextlib.nullcontext():
        compare._refuse_recipes_that_cannot_be_written(*arguments)


STEP = {"seconds": 0.1, "memory_gib": 1.0, "steps": 10.0}


def test_a_recipe_costs_what_supervised_training_does_even_alone(monkeypatch, tmp_path):
    """As when the supervised training was finished before."""
    measured = []
    monkeypatch.setattr(estimate, "_measure", lambda training, *_: measured.append(training.trainer) or STEP)
    chosen = options(methods=("supervised", "recipe"), epochs=1)
    todo = [run for run in trainings(chosen, tmp_path) if run.method == "recipe"]
    for _ in range(2):
        costs = measure_methods(todo, chosen, tmp_path / "kept.json")
    assert measured == ["nnUNetTrainer_short"]
    assert "recipe: 2 training(s) of about 1.0 s" in describe_cost(todo, costs, 1, "cpu")


@pytest.mark.parametrize(
    ("code", "output", "message"),
    [
        (0, f"noise\n{RESULT_MARK}{json.dumps(STEP)}\n", None),
        (1, "out of memory\n", "supervised cannot be trained.*out of memory"),
        (0, "nothing\n", "supervised cannot be trained"),
    ],
)
def test_a_measurement_is_read_or_explained(monkeypatch, tmp_path, code, output, message):
    monkeypatch.setattr(estimate.subprocess, "run", lambda *_, **__: CompletedProcess([], code, output, ""))
    chosen = options(folds=(0,))
    todo = trainings(chosen, tmp_path)[:1]
    with pytest.raises(UserError, match=f"(?s){message}") if message else contextlib.nullcontext():
        assert measure_methods(todo, chosen, tmp_path / "kept.json")["supervised"] == STEP


def evaluation(values):
    numbers = {metric.key: {"mean": 0.8, "sd": 0.01, "n_nan": 0} for metric in METRICS}
    return {
        "classes": {"heart": [1]},
        "predictions_folder": "x",
        "num_cases": len(values),
        "foreground_mean": numbers,
        "cases": {
            f"c{i}": {"metrics": {"heart": {metric.key: value for metric in METRICS}}} for i, value in enumerate(values)
        },
    }


def test_the_table_has_a_row_for_each_method():
    base, other = evaluation([0.5, 0.6, 0.7]), evaluation([0.6, 0.7, 0.8])
    table = comparison_table({"supervised": base, "crln": other}, {"crln": compare_evaluations(other, base)})
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    assert "Dice − supervised [95 % interval], p" in rows[0]
    assert rows[2].startswith("| supervised | 3 | 80.00 ± 1.00 |  |")
    assert "+10.00 [+10.00, +10.00], 0.250" in rows[3]
    assert len({row.count("|") for row in rows}) == 1


def test_a_p_value_is_never_rounded_to_zero():
    base, other = (evaluation(np.linspace(low, low + 0.1, 20)) for low in (0.5, 0.6))
    table = comparison_table({"supervised": base, "crln": other}, {"crln": compare_evaluations(other, base)})
    assert "+10.00 [+10.00, +10.00], <0.001" in table


def test_distances_of_tiff_images_are_in_mm(tmp_path):
    run = trainings(options(methods=("supervised", "crln"), folds=(0,)), tmp_path / "results")[0]
    folders = DatasetFolders("Dataset104_A", tmp_path / "raw", tmp_path / "preprocessed")
    for folder in (folders.raw, labels := folders.preprocessed / "gt_segmentations", run.validation):
        folder.mkdir(parents=True)
    write_json({"labels": {"background": 0, "a": 1}, "file_ending": ".tif"}, folders.raw / "dataset.json")
    for folder, place in ((labels, 2), (run.validation, 5)):
        volume = np.zeros((1, 8, 8, 8), np.uint8)
        volume[:, place] = 1
        # nnU-Net keeps no spacing beside its copies of the labels.
        Tiff3DIO().write_seg(volume[0], str(folder / "c.tif"), {"spacing": [2.0, 1.0, 1.0]})
    (labels / "c.json").unlink()
    summary = _evaluate("supervised", [run], options(output=tmp_path / "out"), folders, ["c"])
    assert summary["cases"]["c"]["metrics"]["a"]["ASD_mm"] == pytest.approx(6.0)


@pytest.mark.parametrize("name", ["comparison.md", "measured_steps.json", "report_crln.html", "predictions/crln"])
def test_only_its_own_files_are_overwritten(tmp_path, name):
    chosen = options(output=tmp_path)
    compare._refuse_files_of_others(chosen)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("[]")
    with pytest.raises(UserError, match=f"{name} exists and was not .* by nnUNetv2_crln_compare"):
        compare._refuse_files_of_others(chosen)


def test_its_own_files_are_replaced(tmp_path):
    values = evaluation([0.5] * 6)
    compared = {"crln": compare_evaluations(values, values)}
    (tmp_path / "comparison.md").write_text(comparison_table({"supervised": values, "crln": values}, compared))
    write_json({"plans 2d cpu": {"crln": {"seconds": 1.0, "steps": 2}}}, tmp_path / "measured_steps.json")
    (tmp_path / "report_crln.html").write_text(render_page("title", "", [], [], []))
    compare._refuse_files_of_others(options(output=tmp_path))


def test_one_case_has_no_interval():
    base, other = evaluation([0.5]), evaluation([0.6])
    table = comparison_table({"supervised": base, "crln": other}, {"crln": compare_evaluations(other, base)})
    assert "+10.00 [not available]" in table and "nan" not in table.lower()
