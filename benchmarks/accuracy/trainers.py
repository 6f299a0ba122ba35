"""The trainer of a run: its plans, settings and first weights."""

from __future__ import annotations

import json
from pathlib import Path

from article_experiments import settings_of
from preparing import PLANS, narrow
from runs import ITERATIONS_PER_EPOCH, Run

from nnunetv2_crln.layout import dataset_number, dataset_title
from nnunetv2_crln.utilities.seeding import derive_seed, seed_everything

OFFSETS = {"ranked": 20, "recipe": 40, "random": 60, "repeated": 80}
"""Numbers of derived datasets above that of their draw."""


def build_trainer(run: Run, work: Path, dataset: str):
    """Return the trainer of a run, with the weights of its last checkpoint or of its warm start."""
    import torch

    folder = work / "preprocessed" / dataset
    plans = json.loads((folder / f"{PLANS}.json").read_text(encoding="utf-8"))
    configuration = plans["configurations"][run.configuration]
    configuration["batch_size"] *= run.method_spec.batches
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


def trained(run: Run, work: Path):
    """Build the trainer of a finished run with its final networks."""
    trainer = build_trainer(run, work, training_dataset(run))
    trainer.load_checkpoint(str(final_checkpoint(run, work)))
    return trainer


def trainer_class(run: Run) -> type:
    """Return nnU-Net's trainer of a run."""
    import oracle

    from nnunetv2_crln.nnunet_trainers import nnunetv2_crln_trainers as trainers

    name = f"nnUNetTrainer{run.method_spec.trainer}_{'article' if run.plan == 'article' else 'short'}"
    return getattr(oracle if hasattr(oracle, name) else trainers, name)


def start_from(supervised: Run, trainer, work: Path) -> None:
    """Give a new training the weights of a supervised one's final checkpoint.

    nnU-Net's loader draws from the generators that building a network has seeded. They are seeded anew, so that a
    supervised training goes on with new patches and does not see those of its start again.
    """
    import torch

    from nnunetv2_crln.utilities.wrapped_network import unwrap

    checkpoint = final_checkpoint(supervised, work)
    weights = torch.load(checkpoint, weights_only=False, map_location=trainer.device)["network_weights"]
    trainer.initialize()
    unwrap(trainer.network).load_state_dict(weights)
    seed_everything(derive_seed(supervised.draw, "continued", 0))


def final_checkpoint(run: Run, work: Path) -> Path:
    """Return the path of a run's final checkpoint."""
    trained = f"{trainer_class(run).__name__}__{PLANS}_{run.name}__{run.configuration}"
    return work / "results" / training_dataset(run) / trained / "fold_all" / "checkpoint_final.pth"


def training_dataset(run: Run) -> str:
    """Return the dataset that a run trains on; nnU-Net finds it by its number, so that a derived one has another."""
    kind = run.method_spec.dataset
    if kind is None:
        return run.dataset
    return f"Dataset{int(dataset_number(run.dataset)) + OFFSETS[kind]:03d}_{dataset_title(run.dataset)}_{kind}"
