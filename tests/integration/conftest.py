"""A preprocessed dataset and trainers on it."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import damage
import nnunetv2.training.nnUNetTrainer.nnUNetTrainer as nnunet_trainer
import pytest
import torch
from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess
from nnunetv2.training.logging.nnunet_logger import LocalLogger
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from synthetic import write_dataset
from tiny_training import CONFIGURATIONS, DATASET, NAME, leave_unannotated, shrink

from nnunetv2_crln.plan_and_preprocess.unlabelled_cases import preprocess_unlabelled
from nnunetv2_crln.training import variants
from nnunetv2_crln.training.monitoring.monitor import Monitor


@pytest.fixture(scope="session")
def preprocessed(tmp_path_factory):
    """Make the preprocessed dataset once; training only reads it. A part of each label is ignored."""
    root = tmp_path_factory.mktemp("training")
    folders = {name: root / name for name in ("raw", "preprocessed", "results")}
    with pytest.MonkeyPatch.context() as patch:
        for name, folder in folders.items():
            folder.mkdir()
            patch.setenv(f"nnUNet_{name}", str(folder))
        patch.setenv("nnUNet_def_n_proc", "1")
        patch.setenv("nnUNet_n_proc_DA", "1")
        torch.set_num_threads(1)
        write_dataset(folders["raw"], DATASET, "Synthetic", labelled=3, unlabelled=3, shape=(20, 20, 20))
        leave_unannotated(folders["raw"] / NAME)
        extract_fingerprints([DATASET], num_processes=1, verbose=False, show_progress_bar=False)
        plan_experiments([DATASET])
        plans_file = folders["preprocessed"] / NAME / "nnUNetPlans.json"
        plans = json.loads(plans_file.read_text(encoding="utf-8"))
        shrink(plans["configurations"]["3d_fullres"])
        shrink(plans["configurations"]["2d"])
        plans_file.write_text(json.dumps(plans))
        preprocess([DATASET], configurations=CONFIGURATIONS, num_processes=[1, 1], show_progress_bar=False)
        for name in CONFIGURATIONS:
            preprocess_unlabelled(
                folders["raw"] / NAME, folders["preprocessed"] / NAME, PlansManager(str(plans_file)), name
            )
    return SimpleNamespace(**folders, plans=plans)


@pytest.fixture
def trainer_of(preprocessed, monkeypatch, tmp_path):
    """Factory of trainers with their own results folder."""
    monkeypatch.setenv("nnUNet_raw", str(preprocessed.raw))
    monkeypatch.setenv("nnUNet_preprocessed", str(preprocessed.preprocessed))
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    monkeypatch.setenv("nnUNet_def_n_proc", "1")
    # The final validation starts nnU-Net's number of processes, each of which imports torch anew if it is spawned.
    monkeypatch.setattr(nnunet_trainer, "default_num_processes", 1)
    torch.set_num_threads(1)

    def build(
        name="nnUNetTrainer_CRLN_short",
        results="results",
        epochs=2,
        fold="all",
        change=None,
        which="3d_fullres",
        labels=None,
        pictures=False,  # they cost more than the training
        **crln,
    ):
        if not pictures:
            monkeypatch.setattr(LocalLogger, "plot_progress_png", lambda *_: None)
            monkeypatch.setattr(Monitor, "draw_curves", lambda *_: None)
            monkeypatch.setattr(nnUNetTrainer, "plot_network_architecture", lambda *_: None)
        monkeypatch.setenv("nnUNet_results", str(tmp_path / results))
        plans = json.loads(json.dumps(preprocessed.plans))
        configuration = plans["configurations"][which]
        configuration["crln"] = {
            "seed": 1,
            "save_every": 1,
            "num_anchors": 8,
            "num_negatives": 16,
            "unsupervised_start": 0,  # all parts take part in the few steps there are
            **crln,
        }
        configuration["short_schedule"] = {
            "num_epochs": epochs,
            "num_iterations_per_epoch": 3,
            "num_val_iterations_per_epoch": 1,
            "seed": 1,
        }
        if change is not None:
            change(plans, configuration)
        plans["continue_training"] = False
        dataset_json = json.loads((preprocessed.preprocessed / NAME / "dataset.json").read_text(encoding="utf-8"))
        dataset_json.update(labels or {})
        trainer = getattr(variants, name)(plans, which, fold, dataset_json, torch.device("cpu"))
        built.append(trainer)
        return trainer

    built: list = []
    yield build
    for trainer in built:
        if hasattr(trainer, "locks"):  # supervised trainings have none
            trainer.locks.close()  # a training that was stopped half way holds them as long as its process lives


@pytest.fixture(scope="session")
def finished_dataset(tmp_path_factory):
    """Make a raw and preprocessed dataset of two channels."""
    root = tmp_path_factory.mktemp("finished")
    write_dataset(root / "raw", labelled=2, unlabelled=2, channels=2, shape=(20, 20, 20))
    with pytest.MonkeyPatch.context() as patch:
        damage.set_up(patch, root)
        damage.run(patch)
        plans_file = root / "preprocessed" / damage.NAME / damage.PLANS
        plans = json.loads(plans_file.read_text())
        shrink(plans["configurations"]["3d_fullres"])
        plans_file.write_text(json.dumps(plans))
    return root


@pytest.fixture
def dataset(finished_dataset, tmp_path, monkeypatch):
    """Root of a private copy."""
    root = tmp_path / "private"
    shutil.copytree(finished_dataset, root)
    damage.set_up(monkeypatch, root)
    return root
