"""Train one run, measure its final networks, write its result."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from article_experiments import settings_of
from beds import raw_cases
from measuring import judged_cases, measure, networks, segmenter
from preparing import PLANS, link, narrow, plan_and_preprocess, write_cases
from runs import ITERATIONS_PER_EPOCH, Run, result_file


def train_and_measure(run: Run, work: Path, results: Path, measured: Sequence[str] | None = None) -> None:
    """Train (or go on with) a run and write its result.

    Args:
        run: What to train.
        work: Folder of the data set's datasets and models.
        results: Folder of all results.
        measured: Networks to measure of those that there are; by default the deployed one.
    """
    import torch

    torch.set_num_threads(1 if run.device == "cpu" else torch.get_num_threads())
    dataset = write_recipe_dataset(run, work) if run.how.recipe else run.dataset
    if run.device == "cpu":
        os.environ["nnUNet_n_proc_DA"] = "0"  # patches are made in the training process: two runs fill two cores
    begin = time.time()
    trainer = build_trainer(run, work, dataset)
    final = Path(trainer.output_folder) / "checkpoint_final.pth"
    if final.exists():
        trainer.load_checkpoint(str(final))
    else:
        trainer.run_training()
    seconds = time.time() - begin
    labels = trainer.dataset_json["labels"]
    found = networks(trainer)
    found = {name: found[name] for name in measured or list(found)[:1] if name in found}
    result = {
        **{field.name: getattr(run, field.name) for field in dataclasses.fields(run)},
        "override": dict(run.override),
        # An override is relative to the defaults of its day; these are the settings that were used.
        "settings": dataclasses.asdict(trainer.settings) if hasattr(trainer, "settings") else {},
        "labelled_cases": trainer.dataset_json["crln"]["labelled_cases"],
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "seconds": round(seconds),
        "last_epoch": last_epoch(trainer),
        "test": {
            name: measure(segmenter(trainer, network), judged_cases(run, work), labels)
            for name, network in found.items()
        },
        "environment": environment(run.device),
    }
    write_result(result, result_file(results, run))


def build_trainer(run: Run, work: Path, dataset: str):
    """Return the trainer of a run, with the weights of its last checkpoint or of its warm start.

    The recipe sees as many patches in a step as the others: both halves of its batch are labelled.
    """
    import torch

    folder = work / "preprocessed" / dataset
    plans = json.loads((folder / f"{PLANS}.json").read_text(encoding="utf-8"))
    configuration = plans["configurations"][run.configuration]
    configuration["batch_size"] *= 2 if run.how.recipe else 1
    per_epoch = min(ITERATIONS_PER_EPOCH, max(1, run.iterations // 20))
    configuration["short_schedule"] = {
        "num_epochs": run.iterations // per_epoch,
        "num_iterations_per_epoch": per_epoch,
        "num_val_iterations_per_epoch": 1,
        "initial_lr": run.learning_rate,
        "seed": run.draw,
    }
    configuration["crln"] = settings_of(run, configuration.get("crln", {}))
    if run.features:
        narrow(configuration["architecture"]["arch_kwargs"], run.features)
    plans["plans_name"] = f"{PLANS}_{run.name}"
    plans["continue_training"] = False
    dataset_json = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    trainer = trainer_class(run)(plans, run.configuration, "all", dataset_json, torch.device(run.device))
    latest = Path(trainer.output_folder) / "checkpoint_latest.pth"
    if latest.exists():
        trainer.load_checkpoint(str(latest))
    elif run.warm_start:
        start_from(run.warm(), trainer, work)
    return trainer


def trainer_class(run: Run) -> type:
    """Return nnU-Net's trainer of a run."""
    import oracle

    from nnunetv2_crln.nnunet_trainers import nnunetv2_crln_trainers as trainers

    name = f"nnUNetTrainer{run.how.trainer}_{'article' if run.plan == 'article' else 'short'}"
    return getattr(oracle if hasattr(oracle, name) else trainers, name)


def start_from(supervised: Run, trainer, work: Path) -> None:
    """Give a new training the weights of a supervised one's final checkpoint."""
    import torch

    from nnunetv2_crln.training.method import unwrap

    checkpoint = final_checkpoint(supervised, work)
    weights = torch.load(checkpoint, weights_only=False, map_location=trainer.device)["network_weights"]
    trainer.initialize()
    unwrap(trainer.network).load_state_dict(weights)


def final_checkpoint(run: Run, work: Path) -> Path:
    """Return the path of a run's final checkpoint."""
    trained = f"{trainer_class(run).__name__}__{PLANS}_{run.name}__{run.configuration}"
    return work / "results" / training_dataset(run) / trained / "fold_all" / "checkpoint_final.pth"


def training_dataset(run: Run) -> str:
    """Return the dataset that a run trains on; nnU-Net finds it by its number, so that the recipe's has another."""
    if not run.how.recipe:
        return run.dataset
    return f"Dataset{int(run.dataset[7:10]) + 50:03d}{run.dataset[10:]}_recipe"


def write_recipe_dataset(run: Run, work: Path) -> str:
    """Write the dataset of the recipe's second training, labelled by the first one's predictions."""
    import SimpleITK as sitk

    dataset = training_dataset(run)
    folder, source = work / "raw" / dataset, work / "raw" / run.dataset
    if (work / "preprocessed" / dataset / "prepared").exists():
        return dataset
    first = run.needed()[0]
    trainer = build_trainer(first, work, run.dataset)
    trainer.load_checkpoint(str(final_checkpoint(first, work)))
    segment = segmenter(trainer, networks(trainer)["student"])
    ending = trainer.dataset_json["file_ending"]
    labelled, unlabelled = raw_cases(source, "Tr", ending), raw_cases(source, "Ul", ending)
    write_cases(folder, "Tr", labelled, ending)
    for case in unlabelled:
        prediction = sitk.GetImageFromArray(segment(case.images).astype(np.uint8))
        prediction.CopyInformation(sitk.ReadImage(str(case.images[0])))
        sitk.WriteImage(prediction, str(folder / "labelsTr" / f"{case.name}{ending}"))
        for image in case.images:
            link(image, folder / "imagesTr" / image.name)
    content = json.loads((source / "dataset.json").read_text(encoding="utf-8"))
    content["numTraining"] = len(labelled) + len(unlabelled)
    (folder / "dataset.json").write_text(json.dumps(content, indent=1))
    plan_and_preprocess(run, work, dataset, unlabelled=False)
    (work / "preprocessed" / dataset / "prepared").touch()
    return dataset


def last_epoch(trainer) -> dict[str, float]:
    """Return the last finite value of each curve; the curves themselves stay in the training's checkpoint."""
    found = {}
    for key, logged in trainer.logger.get_checkpoint().items():
        finite = [value for value in logged if isinstance(value, float) and np.isfinite(value)]
        if finite and not key.startswith("epoch_"):
            found[key] = round(finite[-1], 4)
    return found


def environment(device: str) -> dict[str, Any]:
    """Return what a number in a result depends on besides its settings."""
    from importlib.metadata import version

    import torch

    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, encoding="utf-8", check=False
    )
    return {
        "commit": commit.stdout.strip(),
        "python": platform.python_version(),
        "cpu": platform.processor() or platform.machine(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        **{package: version(package) for package in ("nnunetv2", "torch", "numpy", "batchgeneratorsv2")},
    }


def write_result(result: dict, file: Path) -> None:
    """Write JSON; a reader never sees half of it."""
    from nnunetv2_crln.training.checkpoint import plain
    from nnunetv2_crln.utilities.files import write_json

    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(plain(result), file)
