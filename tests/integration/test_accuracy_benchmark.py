"""The accuracy benchmark from a converted dataset to its table, with trainings of two iterations."""

import json
from dataclasses import replace
from types import SimpleNamespace

import bench
import pytest
import torch
import trainers
from beds import BEDS, Bed, Plan, read_converted
from commands import TRAINERS
from derived_datasets import dataset_of
from runs import Run
from tiny_training import assert_equal_weights

from nnunetv2_crln.utilities.seeding import derive_seed
from nnunetv2_crln.utilities.wrapped_network import unwrap

METHODS = ["supervised", "mean_teacher", "crln", "crln_no_scans", "oracle", "recipe"]
METHODS += ["supervised_double_batch", "add_random", "add_ranked"]


@pytest.fixture
def tiny(monkeypatch):
    """A bed of five tiny cases, one of them held out."""
    plans = {"cpu": Plan((16, 16, 16), (4, 8, 8), 2)}
    bed = Bed("tiny", read_converted(), lambda groups: {"tst_000"}, (2,), "3d_fullres", plans, "HD95_mm")
    monkeypatch.setitem(BEDS, "tiny", lambda: bed)


@pytest.fixture
def command(tiny, make_dataset, tmp_path, monkeypatch):
    """Return a function that runs bench.py in this process on the tiny bed."""
    source = make_dataset(labelled=2, unlabelled=2)
    for key in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(key, "")  # restored afterwards
    monkeypatch.setenv("nnUNet_extTrainer", TRAINERS)
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")
    monkeypatch.setenv("nnUNet_def_n_proc", "1")

    def run(name, *options):
        work = [] if name == "table" else ["--work", str(tmp_path / "work")]
        length = [] if name == "table" else ["--labelled", "2", "--iterations", "2", "--warm_start", "1"]
        arguments = ["--bed", "tiny", "--results", str(tmp_path / "results"), "--data", str(source), *work, *length]
        monkeypatch.setattr("sys.argv", ["bench.py", name, *arguments, *options])
        return bench.main()

    run.results = tmp_path / "results" / "tiny"
    run.folders = tmp_path / "work" / "tiny" / "results"
    return run


def starts_are_equal(work):
    """Check that the network of each method, and its teacher, begin with the weights of the warm start."""
    for method in ("supervised", "supervised_double_batch", "mean_teacher", "crln", "oracle"):
        run = Run("tiny", method, 2, 0, 2, warm_start=1)
        first = torch.load(trainers.final_checkpoint(run.warm(), work), weights_only=False)["network_weights"]
        trainer = trainers.build_trainer(run, work, run.dataset)
        assert_equal_weights(first, unwrap(trainer.network).state_dict())
        if hasattr(trainer, "method"):
            trainer.on_train_start()
            trainer.locks.close()
            assert_equal_weights(first, trainer.method.teacher.module.state_dict())


def test_a_training_after_a_warm_start_draws_other_patches_than_its_start(monkeypatch):
    seeded = []
    monkeypatch.setattr(trainers, "seed_everything", seeded.append)
    monkeypatch.setattr(trainers, "final_checkpoint", lambda *_: "first.pth")
    monkeypatch.setattr(torch, "load", lambda *_, **__: {"network_weights": {}})
    for draw in (0, 0, 1):
        trainer = SimpleNamespace(device="cpu", network=torch.nn.Identity(), initialize=lambda: seeded.append("built"))
        trainers.start_from(Run("tiny", "supervised", 2, draw, 2), trainer, None)
    assert seeded[::2] == ["built"] * 3 and seeded[1] == seeded[3] != seeded[5]
    assert derive_seed(0, "weights", 0) not in seeded


def test_a_dataset_of_predictions_belongs_to_the_run_that_made_them(tiny, tmp_path):
    short = Run("tiny", "recipe", 2, 0, 2, warm_start=1)
    done = tmp_path / "preprocessed" / trainers.training_dataset(short) / "prepared"
    done.parent.mkdir(parents=True)
    done.write_text(short.needed()[0].name)
    assert dataset_of(short, tmp_path) == trainers.training_dataset(short)
    with pytest.raises(SystemExit, match=r"was made by tiny__supervised__.*__2it__.*needs that of .*__3000it__"):
        dataset_of(replace(short, iterations=3000), tmp_path)


def test_every_method_is_trained_measured_and_shown(command, capsys):
    command("prepare")
    command("one", "--methods", "supervised", "--iterations", "1", "--warm_start", "0", "--learning_rate", "0.1")
    starts_are_equal(command.folders.parent)
    for method in METHODS:
        assert command("one", "--methods", method) == 0
    results = [json.loads(path.read_text()) for path in command.results.glob("*__2it__*.json")]
    assert {r["method"] for r in results} == set(METHODS)
    assert all(list(cases) == ["tst_000"] for r in results for cases in r["test"].values())
    labelled = {r["method"]: set(r["labelled_cases"]) for r in results}
    assert all(labelled[method] == labelled["supervised"] for method in METHODS[:-2])
    assert all(labelled[method] > labelled["supervised"] and len(labelled[method]) == 4 for method in METHODS[-2:])
    plans = {m: next(command.folders.glob(f"*/*_tiny__{m}__*__2it__*/plans.json")) for m in METHODS}
    batch = {m: json.loads(p.read_text())["configurations"]["3d_fullres"]["batch_size"] for m, p in plans.items()}
    doubled = {"recipe", "supervised_double_batch"}
    assert all(batch[method] == batch["supervised"] * (1 + (method in doubled)) for method in METHODS)
    capsys.readouterr()
    command("table")
    shown = capsys.readouterr().out
    assert "1 supervised + 2 iterations" in shown and "| CRLN | teacher |" in shown and "| recipe" in shown
    assert "Δ random cases" in shown
    command("pseudo_labels", "--methods", "supervised", "crln")
    shown = capsys.readouterr().out
    titles = ("supervised, draw 0, student", "crln, draw 0, teacher", "crln, draw 0, rectified_teacher")
    assert all(f"| {title} | " in shown for title in titles)
    (counted,) = (command.results.parent / "pseudo_labels" / "tiny").glob("tiny__crln__*.json")
    assert all(c["true"] > 0 for network in json.loads(counted.read_text()).values() for c in network.values())
