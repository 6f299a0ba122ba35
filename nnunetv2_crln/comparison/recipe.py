"""The usual recipe: predict the unlabelled cases with a supervised model and train plain nnU-Net on all of them.

A comparison prepares it by commands of its own, so that an interruption loses little: this module writes the dataset,
nnU-Net preprocesses it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from nnunetv2_crln.comparison.command_queue import QueuedCommand
from nnunetv2_crln.comparison.options import CompareOptions
from nnunetv2_crln.comparison.trainings import Training
from nnunetv2_crln.layout import SPLITS_FILE, VALIDATION_LABELS
from nnunetv2_crln.raw_dataset.annotated_labels import annotated_entry
from nnunetv2_crln.raw_dataset.folders import find_dataset
from nnunetv2_crln.utilities.json_files import read_json, write_json


def preparing_commands(recipe: Training, teacher: Training, options: CompareOptions) -> list[QueuedCommand]:
    """Return the commands that make the data of a recipe, in their order.

    Args:
        recipe: Training of the method ``recipe``.
        teacher: Finished supervised training of the same fold.
        options: Options of the command.

    Returns:
        Commands that predict the unlabelled cases and preprocess the result.
    """
    raw, preprocessed = (Path(recipe.environment[name]) for name in ("nnUNet_raw", "nnUNet_preprocessed"))
    dataset = recipe.folder.parents[1].name
    logs, name = options.output / "logs", f"{options.plans_name}_{options.configuration}_recipe_fold{recipe.fold}"
    module = [sys.executable, "-m", "nnunetv2_crln.comparison.recipe"]
    predict = [*module, str(teacher.folder), "-f", str(recipe.fold), "-d", str(options.dataset_id)]
    predict += ["-p", options.plans_name, "-device", options.device]
    predict += ["--raw", str(raw), "--preprocessed", str(preprocessed)]
    preprocess = ["nnUNetv2_preprocess", "-d", str(options.dataset_id), "-plans_name", options.plans_name]
    preprocess += ["-c", options.configuration, "-np", "2"]
    fold = f"recipe, fold {recipe.fold}"
    return [
        QueuedCommand(
            f"predicting the unlabelled cases for the {fold}", predict, logs / f"{name}_predict.log", raw / dataset
        ),
        QueuedCommand(
            f"preprocessing for the {fold}",
            preprocess,
            logs / f"{name}_preprocess.log",
            preprocessed / dataset / VALIDATION_LABELS,
            environment=recipe.environment,
        ),
    ]


def write_recipe(
    teacher: Path, fold: str, dataset_id: int, plans_name: str, device: str, raw: Path, preprocessed: Path
) -> None:
    """Write a plain nnU-Net dataset with the labelled cases and a model's predictions of all unlabelled ones.

    Args:
        teacher: ``fold_X`` of a trained model.
        fold: Number of its fold.
        dataset_id: Number of the dataset, which stays the same.
        plans_name: Name of the plans.
        device: Device that predicts.
        raw: Folder in place of nnUNet_raw.
        preprocessed: Folder in place of nnUNet_preprocessed.
    """
    # Imported here: a comparison without this method need not wait for what predicts.
    from nnunetv2_crln.annotation_loop.volume_predictor import ModelChoice, VolumePredictor
    from nnunetv2_crln.annotation_loop.write_pseudo_labels import Gate, write_dataset
    from nnunetv2_crln.plan_and_preprocess.fingerprint import FINGERPRINT

    source = find_dataset(dataset_id)
    shutil.rmtree(raw / source.name, ignore_errors=True)  # of an interrupted run
    everything = Gate(keep=1.0, confidence=0.0)
    predictor = VolumePredictor(ModelChoice(teacher, (fold,), device=device))
    written = write_dataset(predictor, raw / source.name, everything, show_progress=False).folder
    dataset_json, original = read_json(written / "dataset.json"), read_json(source.raw / "dataset.json")
    if not annotated_entry(original):  # nothing is ignored: an ignore label would only change nnU-Net's sampling
        dataset_json["labels"] = original["labels"]
    write_json(dataset_json, written / "dataset.json")
    target = preprocessed / written.name
    target.mkdir(parents=True, exist_ok=True)
    write_json(dataset_json, target / "dataset.json")
    write_json(read_json(written / SPLITS_FILE), target / SPLITS_FILE)
    for file in (f"{plans_name}.json", FINGERPRINT):  # nnU-Net copies both into the model
        shutil.copyfile(source.preprocessed / file, target / file)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the dataset that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("teacher", type=Path)
    parser.add_argument("-d", type=int, required=True)
    for flag in ("-f", "-p", "-device"):
        parser.add_argument(flag, required=True)
    for flag in ("--raw", "--preprocessed"):
        parser.add_argument(flag, type=Path, required=True)
    options = parser.parse_args(arguments)
    write_recipe(options.teacher, options.f, options.d, options.p, options.device, options.raw, options.preprocessed)


if __name__ == "__main__":
    main()
