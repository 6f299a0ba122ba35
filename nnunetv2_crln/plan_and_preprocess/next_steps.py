"""Advise the trainings that follow planning; a model that is there already must not be trained over."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from nnunetv2_crln.layout import CHECKPOINT_FINAL, fold_name, model_name
from nnunetv2_crln.raw_dataset.folders import DatasetFolders
from nnunetv2_crln.utilities.advice import command_line


def next_trainings(folders: DatasetFolders, configuration: str, plans: str, fold: str) -> str:
    """Word the commands: supervised training, unless there is such a model, and CRLN from its network.

    Args:
        folders: Folders of the dataset.
        configuration: Name of the configuration to train.
        plans: Name of the plans.
        fold: Fold to train.

    Returns:
        Text of several lines.
    """
    named = () if plans == "nnUNetPlans" else ("-p", plans)

    def train(fold: str, trainer: str, *more: str) -> str:
        return command_line("nnUNetv2_train", folders.number, configuration, fold, "-tr", trainer, *named, *more)

    model = f"{folders.name}/{model_name('nnUNetTrainer', plans, configuration)}"
    results = Path(os.environ.get("nnUNet_results", ""))
    if trained := _trained_folds(results / model, first=fold):
        checkpoint = str(results / model / f"fold_{trained[0]}" / CHECKPOINT_FINAL)
        return (
            "Next, CRLN from the model that you have trained (do not train nnUNetTrainer on this fold again: that "
            f"would replace the model):\n  {train(trained[0], 'nnUNetTrainer_CRLN', '-pretrained_weights', checkpoint)}"
        )
    start = f"-pretrained_weights $nnUNet_results/{model}/fold_{fold}/{CHECKPOINT_FINAL}"
    other = "" if fold == "all" else "\nFold 0 keeps some labelled cases for validation; with all instead of 0, none."
    return (
        "Next, supervised training, and then CRLN from its network:\n"
        f"  {train(fold, 'nnUNetTrainer')}\n  {train(fold, 'nnUNetTrainer_CRLN')} {start}{other}"
    )


def _trained_folds(model_folder: Path, first: str) -> Sequence[str]:
    """Return the folds with a finished model, the wanted one first."""
    found = sorted(fold_name(path.parent) for path in model_folder.glob(f"fold_*/{CHECKPOINT_FINAL}"))
    return sorted(found, key=lambda fold: fold != first)
