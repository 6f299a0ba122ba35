"""Train one run, measure its final networks, write its result."""

from __future__ import annotations

import dataclasses
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from derived_datasets import dataset_of
from measuring import judged_cases, measure, networks, segmenter
from runs import Run, result_file
from trainers import build_trainer


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
    dataset = dataset_of(run, work)
    if run.device == "cpu":
        os.environ["nnUNet_n_proc_DA"] = "0"  # patches are made in the training process: two runs fill two cores
    commit = code_version()  # before a training of an hour, in which the checkout may move on
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
        "environment": {"commit": commit, **environment(run.device)},
    }
    write_result(result, result_file(results, run))


def last_epoch(trainer) -> dict[str, float]:
    """Return the last finite value of each curve; the curves themselves stay in the training's checkpoint."""
    found = {}
    for key, logged in trainer.logger.get_checkpoint().items():
        finite = [value for value in logged if isinstance(value, float) and np.isfinite(value)]
        if finite and not key.startswith("epoch_"):
            found[key] = round(finite[-1], 4)
    return found


def code_version() -> str:
    """Return the commit of this code, with ``-dirty`` if it was changed since; empty outside of a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    folder = Path(__file__).parent
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, encoding="utf-8", check=False
    ).stdout.strip()


def environment(device: str) -> dict[str, Any]:
    """Return what a number in a result depends on besides its settings."""
    from importlib.metadata import version

    import torch

    from nnunetv2_crln.training.cpu import has_bfloat16_instructions

    return {
        "python": platform.python_version(),
        "cpu": platform.processor() or platform.machine(),
        # With them trainings compute in bfloat16 by default, which leads to other networks.
        "bfloat16_instructions": has_bfloat16_instructions() if device == "cpu" else None,
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        **{package: version(package) for package in ("nnunetv2", "torch", "numpy", "batchgeneratorsv2")},
    }


def write_result(result: dict, file: Path) -> None:
    """Write JSON; a reader never sees half of it."""
    from nnunetv2_crln.training.checkpoint import plain
    from nnunetv2_crln.utilities.json_files import write_json

    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(plain(result), file)
