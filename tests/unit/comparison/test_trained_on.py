"""Models of other labelled cases or plans, as far as the files of nnU-Net and of a recipe tell."""

import contextlib
import os
from types import SimpleNamespace

import pytest
import workbench

from nnunetv2_crln.comparison import trained_on
from nnunetv2_crln.comparison.options import CompareOptions
from nnunetv2_crln.comparison.trained_on import refuse_models_of_other_data
from nnunetv2_crln.comparison.trainings import trainings
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.utilities.json_files import write_json

DATASET = {"file_ending": ".nii.gz", "numTraining": 4, "crln": {"labelled_cases": ["a", "b", "c", "d"]}}


def plans(**changes) -> dict:
    content = workbench.plans_of(workbench.SETTINGS["hippocampus"])
    content["configurations"]["3d_fullres"].update(changes)
    return content


@pytest.fixture
def options(tmp_path):
    return CompareOptions(7, "3d_fullres", ("supervised", "recipe"), output=tmp_path / "out")


@pytest.fixture
def runs(options, tmp_path):
    folder = tmp_path / "preprocessed"
    for name, content in (("dataset.json", DATASET), ("nnUNetPlans.json", plans())):
        write(folder / name, content)
    return trainings(options, tmp_path / "results" / "Dataset007_A")


def write(path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(content, path)


def check(runs, options, reason, held_out=("a",), partly=()) -> None:
    with pytest.raises(UserError, match=reason) if reason else contextlib.nullcontext():
        refuse_models_of_other_data(runs, options, options.output.parent / "preprocessed", {0: held_out}, partly)


@pytest.mark.parametrize(
    ("dataset_json", "changes", "reason"),
    [
        (DATASET, {}, ""),
        ({**DATASET, "numTraining": 3}, {}, r"1 model\(s\).*nnUNetTrainer__\S+ \(3 labelled cases, now 4\)"),
        ({**DATASET, "crln": {"labelled_cases": ["a", "b", "c", "e"]}}, {}, "other labelled cases"),
        ({"numTraining": 4}, {}, ""),
        (DATASET, {"patch_size": [8, 8, 8], "batch_size": 9}, "other plans: batch_size, patch_size"),
        (DATASET, {"crln": {"cps": False}, "short_schedule": {"num_epochs": 3}}, ""),
    ],
    ids=["same", "fewer", "others", "unknown", "plans", "settings"],
)
def test_a_model_is_compared_with_the_present_data(runs, options, dataset_json, changes, reason):
    model = runs[0].folder.parent
    write(model / "dataset.json", dataset_json)
    write(model / "plans.json", plans(**changes))
    check(runs, options, reason)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"num_cases": {"unlabelled": 190}}, "fold 0: 190 unlabelled cases, now 290"),
        ({"num_cases": {"unlabelled": 290}}, ""),
        ({}, ""),
    ],
)
def test_models_of_another_number_of_unlabelled_cases_are_refused(runs, options, monkeypatch, facts, reason):
    status = SimpleNamespace(ready=["case"] * 290)
    monkeypatch.setattr(trained_on, "unlabelled_status", lambda *_: status)
    fold = runs[0].folder
    write(fold.parent / "dataset.json", DATASET)
    write(fold.parent / "plans.json", plans())
    write(fold / "crln_training.json", facts)
    check(runs, options, reason)


@pytest.mark.parametrize(
    ("held_out", "partly", "reason"),
    [
        ("ab", "", ""),
        ("bc", "", "another split: fold 0 differs in a, c"),
        ("a", "", "fold 0 differs in b"),
        ("a", "b", ""),  # as nnU-Net's own trainer predicts a case with incomplete labels
        ("ab", "c", ""),  # as ours leave it out
    ],
)
def test_a_finished_model_of_another_split_is_refused(runs, options, held_out, partly, reason):
    fold = runs[0].folder
    write(fold.parent / "dataset.json", DATASET)
    write(fold.parent / "plans.json", plans())
    (fold / "validation").mkdir(parents=True)
    for name in ("a.nii.gz", "b.nii.gz", "._b.nii.gz", "summary.json"):
        (fold / "validation" / name).touch()
    check(runs, options, "", held_out)  # it will go on with the present split
    (fold / "checkpoint_final.pth").touch()
    (fold / "validation" / "summary.json").touch()  # the validation ends after the training
    check(runs, options, reason, held_out, partly)
    for path in (fold / "validation").glob("*.nii.gz"):
        path.unlink()
    check(runs, options, "predictions of its held-out cases are gone", held_out)


@pytest.mark.parametrize(("number", "reason"), [(14, ""), (12, r"fold0 \(2 labelled cases, now 4\)")])
def test_predicted_labels_of_a_recipe_do_not_count_as_labelled(runs, options, number, reason):
    recipe = next(run for run in runs if run.method == "recipe")
    content = {"numTraining": number, "crln": {"pseudo_labelled_cases": [f"u{i}" for i in range(10)]}}
    place = options.output / "recipe" / "nnUNetPlans_3d_fullres_fold0"
    assert str(place / "nnUNet_raw") == recipe.environment["nnUNet_raw"]
    write(place / "nnUNet_raw" / "Dataset007_A" / "dataset.json", content)
    write(place / "nnUNet_preprocessed" / "Dataset007_A" / "nnUNetPlans.json", plans())
    check(runs, options, reason)


def test_a_result_that_is_older_than_the_model_is_of_its_predecessor(runs):
    run = runs[0]
    run.validation.mkdir(parents=True)
    model, result = run.folder / "checkpoint_final.pth", run.validation / "summary.json"
    for path in (model, result):
        path.touch()
    for age, finished in ((-10, True), (0, True), (10, False)):
        os.utime(model, (1_000_000 + age, 1_000_000 + age))
        os.utime(result, (1_000_000, 1_000_000))
        assert run.is_finished == finished
