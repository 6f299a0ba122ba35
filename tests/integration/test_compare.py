"""nnUNetv2_crln_compare on a tiny dataset, its trainings replaced by predictions of known quality."""

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from commands import environment_of
from tiny_training import DATASET, NAME

from nnunetv2_crln.cli import compare as cli
from nnunetv2_crln.comparison import compare as module
from nnunetv2_crln.comparison.measure_step import measure
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import FOLD_LOCK, SPLITS_FILE, claim_file, data_lock_file
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.monitoring.facts import write_facts
from nnunetv2_crln.utilities.json_files import read_json, write_json

HOLD = """
import sys
from nnunetv2_crln.utilities.locking import FolderLock
FolderLock(sys.argv[1]).acquire("taken")
print("held", flush=True)
sys.stdin.read()
"""
TRY = """
import sys
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.utilities.locking import FolderLock
try:
    FolderLock(sys.argv[1]).acquire("taken")
except UserError:
    sys.exit(3)
"""


def is_locked(path: Path) -> bool:
    """Tell whether this process keeps others from an exclusive lock; a process does not lock out itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return subprocess.run([sys.executable, "-c", TRY, str(path)]).returncode == 3


METHODS = ["--methods", "supervised", "crln", "--epochs", "1"]


@pytest.fixture
def dataset(preprocessed, tmp_path, monkeypatch):
    """The raw dataset, and a private copy of the plans and of what a comparison reads beside them."""
    folder = tmp_path / "preprocessed" / NAME
    folder.mkdir(parents=True)
    for name in ("nnUNetPlans.json", "dataset.json"):
        shutil.copy(preprocessed.preprocessed / NAME / name, folder)
    for name in ("gt_segmentations", "nnUNetPlans_3d_fullres"):
        shutil.copytree(preprocessed.preprocessed / NAME / name, folder / name)
    write_json([{"train": ["lab_000"], "val": ["lab_001", "lab_002"]}], folder / SPLITS_FILE)
    monkeypatch.setenv("nnUNet_raw", str(preprocessed.raw))
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "preprocessed"))
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    return SimpleNamespace(folder=folder, flags=["-d", str(DATASET), "-c", "3d_fullres", "-device", "cpu"])


@pytest.fixture
def trained(dataset, monkeypatch):
    """The commands that ran; each leaves what nnUNetv2_train leaves, CRLN's predictions better than the baseline's."""
    ran = []

    def pretend(commands, places):
        assert places == [{}]
        for command in commands:
            ran.append(command.arguments)
            trainer = command.arguments[5]
            validation = Path(command.result).parent
            validation.mkdir(parents=True)
            for name in ("plans.json", "dataset.json"):
                source = dataset.folder / (f"{command.arguments[7]}.json" if name == "plans.json" else name)
                shutil.copy(source, validation.parents[1] / name)
            for case in ("lab_001", "lab_002"):
                label = sitk.ReadImage(str(dataset.folder / "gt_segmentations" / f"{case}.nii.gz"))
                voxels = sitk.GetArrayFromImage(label)
                voxels[voxels == 3] = 0
                voxels = np.roll(voxels, 1 if "CRLN" in trainer else 4, axis=2)
                sitk.WriteImage(sitk.GetImageFromArray(voxels), str(validation / f"{case}.nii.gz"))
            (validation.parent / "checkpoint_final.pth").write_bytes(b"")
            write_json({}, command.result)

    cost = {"seconds": 0.1, "memory_gib": 1.0, "steps": 100.0}
    monkeypatch.setattr(module, "run_queue", pretend)
    monkeypatch.setattr(module, "measure_methods", lambda todo, *_: {training.method: cost for training in todo})
    return ran


def test_a_comparison_ends_in_one_table_and_trains_nothing_twice(dataset, trained, tmp_path, capsys):
    output = tmp_path / "out"
    cli.command([*dataset.flags, *METHODS, "-o", str(output)])
    shown, warnings = capsys.readouterr()
    assert "2 held-out cases in fold(s) 0" in shown and "cannot tell two methods apart" in warnings
    assert "in all about 20.0 s" in shown
    table = (output / "comparison.md").read_text(encoding="utf-8")
    assert table in shown
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| supervised", "| crln"]
    assert float(rows[3].split(" | ")[3].split()[0]) > 0
    assert "report_crln.html" in {path.name for path in output.iterdir()}
    assert [arguments[5] for arguments in trained] == ["nnUNetTrainer_short", "nnUNetTrainer_CRLN_short"]
    plans = read_json(dataset.folder / "nnUNetPlans_1epochs.json")
    assert plans["configurations"]["3d_fullres"]["short_schedule"]["num_epochs"] == 1
    assert plans["plans_name"] == "nnUNetPlans_1epochs"

    trained.clear()
    cli.command([*dataset.flags, *METHODS, "-o", str(output)])
    assert trained == []
    assert (output / "comparison.md").read_text(encoding="utf-8") == table


def test_an_inherited_schedule_keeps_its_other_entries(dataset, trained, tmp_path):
    file = dataset.folder / "nnUNetPlans.json"
    plans = read_json(file)
    plans["configurations"]["3d_fullres"]["short_schedule"] = {"initial_lr": 0.01, "num_iterations_per_epoch": 7}
    plans["configurations"]["3d_heir"] = {"inherits_from": "3d_fullres"}
    write_json(plans, file)
    flags = [flag if flag != "3d_fullres" else "3d_heir" for flag in dataset.flags]
    cli.command([*flags, *METHODS, "-o", str(tmp_path / "out")])
    written = read_json(dataset.folder / "nnUNetPlans_1epochs.json")["configurations"]["3d_heir"]["short_schedule"]
    expected = {"initial_lr": 0.01, "num_iterations_per_epoch": 7, "num_val_iterations_per_epoch": 50, "num_epochs": 1}
    assert written == expected


def test_a_model_that_began_with_trained_weights_is_named(dataset, trained, tmp_path, capsys):
    output = tmp_path / "out"
    cli.command([*dataset.flags, *METHODS, "-o", str(output)])
    assert "not fair" not in capsys.readouterr().err
    for checkpoint in (tmp_path / "results").glob("*/nnUNetTrainer_CRLN_short__*/fold_0/checkpoint_final.pth"):
        facts = {"trainer": "T", "num_cases": {}, "epochs": 1, "iterations_per_epoch": 1, "seed": 1, "pretrained": True}
        write_facts(
            checkpoint.parent, CRLNSettings(), torch.device("cpu"), labelled_patches=2, unlabelled_patches=2, **facts
        )
    cli.command([*dataset.flags, *METHODS, "-o", str(output)])
    assert "Warning: crln, fold 0 began with trained weights" in capsys.readouterr().err


def add_labels(folder):
    content = read_json(folder / "dataset.json")
    write_json({**content, "numTraining": content["numTraining"] + 2}, folder / "dataset.json")


def plan_again(folder):
    plans = read_json(folder / "nnUNetPlans.json")
    plans["configurations"]["3d_fullres"]["batch_size"] += 1
    write_json(plans, folder / "nnUNetPlans.json")


@pytest.mark.parametrize(
    ("change", "reason"), [(add_labels, "3 labelled cases, now 5"), (plan_again, "other plans: batch_size")]
)
def test_a_model_of_other_labels_or_plans_does_not_count_as_finished(dataset, trained, tmp_path, change, reason):
    command = [*dataset.flags, *METHODS, "-o", str(tmp_path / "out")]
    cli.command(command)
    trained.clear()
    change(dataset.folder)
    results = tmp_path / "results" / NAME
    names = [f"{trainer}_short__nnUNetPlans_1epochs__3d_fullres" for trainer in ("nnUNetTrainer_CRLN", "nnUNetTrainer")]
    for name in names:  # as annotation_loop.md says, first one method and then the other
        with pytest.raises(UserError, match=rf"{names[1]} \({reason}\).* Rename these folders"):
            cli.command(command)
        assert not trained
        (results / name).rename(results / f"before_{name}")
    cli.command(command)
    assert len(trained) == 2


def test_other_settings_of_a_method_are_no_other_data(dataset, trained, tmp_path):
    command = [*dataset.flags, *METHODS, "-o", str(tmp_path / "out")]
    cli.command(command)
    plans = read_json(dataset.folder / "nnUNetPlans.json")
    plans["configurations"]["3d_fullres"]["crln"] = {"cps_weight": 0.5}
    write_json(plans, dataset.folder / "nnUNetPlans.json")
    cli.command(command)
    assert len(trained) == 2


def test_bad_input_is_one_clear_error(dataset, trained, tmp_path):
    flags = ["-d", str(DATASET), "-device", "cpu", "-o", str(tmp_path / "out")]
    with pytest.raises(UserError, match="has the configurations"):
        cli.command([*flags, "-c", "3d_nothing"])
    with pytest.raises(UserError, match=r"other\.json does not exist"):
        cli.command([*flags, "-c", "3d_fullres", "-p", "other"])
    with pytest.raises(UserError, match="has the folds 0 to 0"):
        cli.command([*flags, "-c", "3d_fullres", "-f", "4"])
    assert not trained


def test_a_comparison_locks_its_trainings_and_their_data(dataset, trained, tmp_path, monkeypatch):
    """nnU-Net's own trainer has no lock: a second comparison would train in the same folder."""
    seen, locks = [], {}

    def look(commands, places, train=module.run_queue):
        command = commands[0]
        fold = Path(command.result).parents[1]
        data = dataset.folder / "nnUNetPlans_3d_fullres"
        locks.update(fold=claim_file(fold), data=data_lock_file(data))
        seen.append([is_locked(claim_file(fold)), is_locked(data_lock_file(data)), is_locked(fold / FOLD_LOCK)])
        train(commands, places)

    monkeypatch.setattr(module, "run_queue", look)
    cli.command([*dataset.flags, *METHODS, "-o", str(tmp_path / "out")])
    assert seen == [[True, True, False]]  # the last one is for the training itself
    assert not any(map(is_locked, locks.values()))


def test_a_training_of_another_comparison_is_refused(dataset, trained, tmp_path):
    fold = tmp_path / "results" / NAME / "nnUNetTrainer_short__nnUNetPlans_1epochs__3d_fullres" / "fold_0"
    fold.parents[1].mkdir(parents=True)
    command = [sys.executable, "-c", HOLD, str(claim_file(fold))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=r"Another comparison trains supervised, fold 0 .*Wait until it ends"):
            cli.command([*dataset.flags, *METHODS, "-o", str(tmp_path / "out")])
    assert not trained and not fold.parent.exists()


def test_predictions_that_no_comparison_made_are_kept(dataset, trained, tmp_path, monkeypatch):
    own = tmp_path / "predictions" / "crln" / "case.nii.gz"
    own.parent.mkdir(parents=True)
    own.write_text("predicted by nnUNetv2_predict")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"predictions/crln exists and was not made by .*another output folder with -o"):
        cli.command([*dataset.flags, *METHODS, "-o", str(tmp_path)])
    assert sorted(tmp_path.rglob("*")) == before and own.read_text() and not trained
    own.parent.rename(tmp_path / "mine")

    def predicted_meanwhile(todo, *_):
        own.parent.mkdir(parents=True)
        own.write_text("predicted by nnUNetv2_predict")
        return {training.method: {"seconds": 0.1, "memory_gib": 1.0, "steps": 100.0} for training in todo}

    monkeypatch.setattr(module, "measure_methods", predicted_meanwhile)
    with pytest.raises(UserError, match=r"predictions/crln exists"):
        cli.command([*dataset.flags, *METHODS, "-o", str(tmp_path)])
    assert own.read_text() and len(trained) == 2


def test_predictions_of_a_comparison_are_replaced(dataset, trained, tmp_path):
    for _ in range(2):
        cli.command([*dataset.flags, *METHODS, "-o", str(tmp_path / "out")])
        predictions = tmp_path / "out" / "predictions" / "crln"
        names = sorted(path.name for path in predictions.iterdir())
        assert names == [".crln_comparison", "lab_001.nii.gz", "lab_002.nii.gz", "summary_crln.json"]
        (predictions / "of_another_fold.nii.gz").touch()


def test_files_of_the_user_beside_the_predictions_are_kept(dataset, trained, tmp_path):
    cli.command([*dataset.flags, *METHODS, "-o", str(tmp_path / "out")])
    predictions = tmp_path / "out" / "predictions" / "crln"
    own = [predictions / "notes.txt", predictions / ".ipynb_checkpoints" / "look.ipynb"]
    own[1].parent.mkdir()
    for path in own:
        path.write_text("mine")
    cli.command([*dataset.flags, *METHODS, "-o", str(tmp_path / "out")])
    assert all(path.read_text() == "mine" for path in own)


def test_data_of_another_spacing_are_named_before_the_first_training(dataset, trained, tmp_path):
    """nnU-Net's own trainer would train on them."""
    plans = read_json(dataset.folder / "nnUNetPlans.json")
    plans["configurations"]["3d_fullres"]["spacing"] = [2.0, 2.0, 2.0]
    write_json(plans, dataset.folder / "nnUNetPlans.json")
    with pytest.raises(UserError, match=r"was not preprocessed with the present .*20 × 20 × 20 instead of"):
        cli.command([*dataset.flags, *METHODS, "-o", str(tmp_path / "out")])
    assert not trained


def test_models_of_another_split_are_named(dataset, trained, tmp_path):
    cli.command([*dataset.flags, *METHODS, "-o", str(tmp_path / "out")])
    write_json([{"train": ["lab_001"], "val": ["lab_000", "lab_002"]}], dataset.folder / SPLITS_FILE)
    with pytest.raises(UserError, match=r"2 model\(s\).*another split: fold 0 differs in lab_000, lab_001.*Rename"):
        cli.command([*dataset.flags, *METHODS, "-o", str(tmp_path / "out")])
    assert len(trained) == 2


@pytest.fixture
def whole_dataset(preprocessed, tmp_path):
    """Everything that trainings of a few steps need, with two held-out cases."""
    for name in ("raw", "preprocessed"):
        shutil.copytree(getattr(preprocessed, name), tmp_path / name)
    folder = tmp_path / "preprocessed" / NAME
    plans = read_json(folder / "nnUNetPlans.json")
    configuration = plans["configurations"]["3d_fullres"]
    configuration["short_schedule"] = {"num_iterations_per_epoch": 3, "num_val_iterations_per_epoch": 1}
    configuration["crln"] = {"seed": 1, "num_anchors": 8, "num_negatives": 16}
    write_json(plans, folder / "nnUNetPlans.json")
    write_json([{"train": ["lab_000"], "val": ["lab_001", "lab_002"]}], folder / SPLITS_FILE)
    return environment_of(tmp_path, nnUNet_n_proc_DA="0")


@pytest.mark.slow
@pytest.mark.timeout(1800)  # six interpreters that import nnU-Net
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_a_real_comparison_with_the_recipe_is_interrupted_and_goes_on(whole_dataset, tmp_path):
    """Trains for a few steps, each time with nnU-Net's own command; make demo does so with the other methods."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "nnunetv2_crln.cli.compare", "-d", str(DATASET), "-c", "3d_fullres"]
    command += ["--methods", "supervised", "recipe", "--epochs", "1", "-device", "cpu"]
    command += ["--no_estimate", "--at_once", "2", "-o", str(out)]
    first = subprocess.Popen(command, env=whole_dataset, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    finished = tmp_path / "results" / NAME / "nnUNetTrainer_short__nnUNetPlans_1epochs__3d_fullres" / "fold_0"
    while first.poll() is None and not (finished / "validation" / "summary.json").is_file():
        time.sleep(0.2)
    # A test that runs in the background inherits that interrupts are ignored; a kill does the same.
    first.send_signal(signal.SIGTERM)
    assert first.wait(120) != 0
    assert not (out / "comparison.md").exists()

    second = subprocess.run(command, env=whole_dataset, capture_output=True, text=True, encoding="utf-8")
    assert second.returncode == 0, second.stdout + second.stderr
    assert "supervised, fold 0: trained already" in second.stdout
    assert "cannot tell two methods apart" in second.stderr
    rows = [line.strip("| ").split(" | ") for line in (out / "comparison.md").read_text("utf-8").splitlines()]
    assert [row[0] for row in rows[2:4]] == ["supervised", "recipe"]
    assert re.search(r"\[[+-].*, [+-].*\]", rows[3][3])
    assert [path.name for path in out.glob("*.html")] == ["report_recipe.html"]
    recipe = out / "recipe" / "nnUNetPlans_1epochs_3d_fullres_fold0" / "nnUNet_raw" / NAME
    assert len(list((recipe / "labelsTr").iterdir())) == 3 + 3
    assert read_json(recipe / "dataset.json")["labels"] == read_json(tmp_path / "raw" / NAME / "dataset.json")["labels"]


def test_steps_are_measured(trainer_of):
    result = measure(trainer_of("nnUNetTrainer_MeanTeacher_short", epochs=4))
    assert result["seconds"] > 0
    assert result["memory_gib"] > 0.01
    assert result["steps"] == pytest.approx(4 * (3 + 1 / 3))
