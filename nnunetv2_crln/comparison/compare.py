"""Train what is missing, evaluate the held-out cases, and put all methods into one table."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.comparison.command_queue import QueuedCommand, run_queue
from nnunetv2_crln.comparison.estimate import describe_cost, gpu_environment, measure_methods
from nnunetv2_crln.comparison.held_out import held_out_cases, warn_about_few
from nnunetv2_crln.comparison.options import RECIPE, CompareOptions
from nnunetv2_crln.comparison.recipe import preparing_commands
from nnunetv2_crln.comparison.table import TABLE_MARK, comparison_table
from nnunetv2_crln.comparison.trained_on import refuse_models_of_other_data
from nnunetv2_crln.comparison.trainings import Training, teacher_of, trainings
from nnunetv2_crln.errors import UserError, did_you_mean
from nnunetv2_crln.evaluation.comparison import compare_evaluations
from nnunetv2_crln.evaluation.folder import evaluate_folder
from nnunetv2_crln.layout import (
    CHECKPOINT_FINAL,
    COMPARISON_FILE,
    COMPARISON_LOCK,
    COMPARISON_MARK,
    MEASURED_STEPS_FILE,
    NUM_FOLDS,
    SHORT_SCHEDULE,
    VALIDATION_LABELS,
    VALIDATION_SUMMARY,
    claim_file,
)
from nnunetv2_crln.preprocessed_dataset.commands import labelled_folder
from nnunetv2_crln.preprocessed_dataset.image_changes import refuse_changed_images
from nnunetv2_crln.preprocessed_dataset.labelled_status import require_labelled_data
from nnunetv2_crln.preprocessed_dataset.plans import check_plans, read_checked_plans
from nnunetv2_crln.preprocessed_dataset.unlabelled_status import unlabelled_cases_of
from nnunetv2_crln.raw_dataset.annotated_labels import annotated_labels
from nnunetv2_crln.raw_dataset.cases import find_labelled_cases
from nnunetv2_crln.raw_dataset.check_dataset_json import refuse_changed_labels
from nnunetv2_crln.raw_dataset.companions import with_companions
from nnunetv2_crln.raw_dataset.dataset_json import read_dataset_json
from nnunetv2_crln.raw_dataset.environment import required_folder
from nnunetv2_crln.raw_dataset.folders import DatasetFolders, find_dataset
from nnunetv2_crln.reporting.blocks import PAGE_MARK
from nnunetv2_crln.reporting.report import build_report
from nnunetv2_crln.training.locks import lock_data
from nnunetv2_crln.utilities.devices import available_device
from nnunetv2_crln.utilities.files import refuse_to_replace, write_text
from nnunetv2_crln.utilities.json_files import read_json, write_json, write_json_with_nulls
from nnunetv2_crln.utilities.locking import FolderLock
from nnunetv2_crln.utilities.print_warnings import print_warnings


def compare(options: CompareOptions) -> str:
    """Compare methods on the held-out labelled cases of a preprocessed dataset.

    Finished trainings are not repeated, whoever started them; an interrupted one is continued. Models of other labelled
    cases, folds or plans are refused.

    Returns:
        The table, which is also written to the output folder.

    Raises:
        UserError: Input is wrong, or a training failed; finished results are kept.
    """
    folders = find_dataset(options.dataset_id)
    dataset_json = read_dataset_json(folders.raw)
    labelled = list(find_labelled_cases(folders.raw, dataset_json))
    partly = annotated_labels(dataset_json, labelled)
    held_out = held_out_cases(folders.preprocessed, labelled, options.folds, leave_out=partly)
    cases = sorted(set().union(*held_out.values()))
    print(f"{folders.name}: {len(cases)} held-out cases in fold(s) {', '.join(map(str, options.folds))}")
    if warning := warn_about_few(len(cases), len(set(options.folds)) >= NUM_FOLDS):
        print_warnings([warning])
    _refuse_files_of_others(options)
    options = dataclasses.replace(options, plans_name=_plans_to_train_with(folders, options))
    results = required_folder("nnUNet_results") / folders.name
    runs = trainings(options, results)
    teachers = [teacher_of(run, options, results) for run in runs if run.method == RECIPE]
    refuse_models_of_other_data([*runs, *teachers], options, folders.preprocessed, held_out, partly)
    options.output.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as locks:
        lock = locks.enter_context(FolderLock(options.output / COMPARISON_LOCK))
        lock.acquire(f"Another comparison writes into {options.output}. Wait until it ends, or choose another -o.")
        plans_manager = PlansManager(read_checked_plans(folders.preprocessed / f"{options.plans_name}.json"))
        _refuse_recipes_that_cannot_be_written(runs, options, folders, plans_manager)
        # nnU-Net's own trainer, which a method may use, takes no lock.
        data = labelled_folder(folders.preprocessed, plans_manager, options.configuration)
        lock_data(locks, data)
        if not all(run.is_finished for run in runs):
            require_labelled_data(data, plans_manager, options.configuration)
            available_device(options.device)
        _train(runs, options, results)
        return _write_results(runs, options, folders, cases)


def _plans_to_train_with(folders: DatasetFolders, options: CompareOptions) -> str:
    """Return the name of the plans to train with; for a given number of epochs, that of a copy with this number.

    Raises:
        UserError: The plans do not exist or lack the configuration.
    """
    path = folders.preprocessed / f"{options.plans_name}.json"
    if not path.is_file():
        raise UserError(
            f"{path} does not exist. Run nnUNetv2_crln_plan_and_preprocess -d {options.dataset_id} first, or name "
            "other plans with -p."
        )
    plans = read_checked_plans(path)
    present = plans["configurations"]
    if options.configuration not in present:
        raise UserError(
            f"-c {options.configuration}: {path.name} has the configurations {', '.join(present)}."
            f"{did_you_mean(options.configuration, present)}"
        )
    check_plans(plans, path, options.configuration)
    if options.epochs is None:
        return options.plans_name
    name = f"{options.plans_name}_{options.epochs}epochs"
    usual = {"num_iterations_per_epoch": 250, "num_val_iterations_per_epoch": 50}
    configuration = plans["configurations"][options.configuration]
    configuration[SHORT_SCHEDULE] = {
        **usual,
        **PlansManager(plans).get_configuration(options.configuration).configuration.get(SHORT_SCHEDULE, {}),
        "num_epochs": options.epochs,
    }
    copy = folders.preprocessed / f"{name}.json"
    content = {**plans, "plans_name": name}
    if not copy.is_file() or read_json(copy) != content:
        write_json(content, copy)
    return name


def _refuse_recipes_that_cannot_be_written(
    runs: list[Training], options: CompareOptions, folders: DatasetFolders, plans_manager: PlansManager
) -> None:
    """Find out before the trainings whether the dataset of a recipe can be written after them."""
    if any(run.method == RECIPE and not run.is_finished for run in runs):
        trained = folders.preprocessed / "dataset.json"
        refuse_changed_labels(folders.raw, read_dataset_json(trained), trained)
        _, status = unlabelled_cases_of(folders, plans_manager, options.configuration)
        refuse_changed_images(folders, status, plans_manager, options.configuration)


# --- training ---------------------------------------------------------------------------------------------------------


def _claim(locks: contextlib.ExitStack, runs: Sequence[Training]) -> None:
    """Lock the trainings against other comparisons until ``locks`` are closed.

    Raises:
        UserError: Another comparison does one of these trainings.
    """
    for run in runs:
        path = claim_file(run.folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        locks.enter_context(FolderLock(path)).acquire(
            f"Another comparison trains {run.method}, fold {run.fold} ({run.folder}). Wait until it ends; then this "
            "command goes on with its result."
        )


def _train(runs: list[Training], options: CompareOptions, results: Path) -> None:
    """Train what is missing; recipes come last, because they need the predictions of supervised models."""
    for run in runs:
        if run.is_finished:
            print(f"{run.method}, fold {run.fold}: trained already ({run.folder})")
        if run.began_with_trained_weights:
            print_warnings(
                [
                    f"{run.method}, fold {run.fold} began with trained weights (-pretrained_weights), while this "
                    "command's own trainings begin with random ones: the comparison is not fair. Rename "
                    f"{run.folder.parent} to have it trained anew."
                ]
            )
    recipes = {run: teacher_of(run, options, results) for run in runs if run.method == RECIPE}
    recipes = {run: teacher for run, teacher in recipes.items() if not run.is_finished}
    first = [*(run for run in runs if run.method != RECIPE), *recipes.values()]
    first = [run for run in dict.fromkeys(first) if not run.is_finished]
    todo = [*first, *recipes]
    if not todo:
        return
    with contextlib.ExitStack() as locks:
        _claim(locks, todo)
        _run_trainings(first, recipes, options)


def _run_trainings(first: list[Training], recipes: Mapping[Training, Training], options: CompareOptions) -> None:
    todo = [*first, *recipes]
    places = [gpu_environment([gpu]) for gpu in options.gpus] or [{}] * options.at_once
    if options.measure:
        measured = measure_methods(todo, options, options.output / MEASURED_STEPS_FILE)
        print(describe_cost(todo, measured, min(len(places), len(todo)), options.device))
    print("You can stop with Ctrl-C at any time; run the same command again to continue.", flush=True)
    run_queue([training_command(run, options) for run in first], places)
    if recipes:
        for run, teacher in recipes.items():
            run_queue(preparing_commands(run, teacher, options), places[:1])
        run_queue([training_command(run, options) for run in recipes], places)


def training_command(run: Training, options: CompareOptions) -> QueuedCommand:
    """Return nnU-Net's command for a training or for its remaining part.

    Args:
        run: Training that has not ended.
        options: Options of the command.

    Returns:
        The command and its log file.
    """
    arguments = ["nnUNetv2_train", str(options.dataset_id), options.configuration, str(run.fold), "-tr", run.trainer]
    arguments += ["-p", options.plans_name, "-device", options.device]
    # A training that ended before its held-out cases were predicted need not be loaded for training again.
    arguments.append("--val" if (run.folder / CHECKPOINT_FINAL).is_file() else "--c")
    log = options.output / "logs" / f"{options.plans_name}_{options.configuration}_{run.method}_fold{run.fold}.log"
    title = f"training {run.method}, fold {run.fold}"
    result, epochs = run.validation / VALIDATION_SUMMARY, options.epochs or 1000
    return QueuedCommand(title, arguments, log, result, epochs, run.environment)


# --- results ----------------------------------------------------------------------------------------------------------


def _write_results(runs: list[Training], options: CompareOptions, folders: DatasetFolders, cases: Sequence[str]) -> str:
    evaluations = {method: _evaluate(method, runs, options, folders, cases) for method in options.methods}
    baseline, *others = options.methods
    comparisons = {method: compare_evaluations(evaluations[method], evaluations[baseline]) for method in others}
    table = comparison_table(evaluations, comparisons)
    write_text(options.output / COMPARISON_FILE, table)
    models = {run.method: run.folder.parent for run in runs}
    for method in others:
        page = build_report(
            models[method],
            models[baseline],
            [options.evaluation_file(method)],
            [options.evaluation_file(baseline)],
        )
        write_text(options.report_file(method), page)
    return table


def _refuse_files_of_others(options: CompareOptions) -> None:
    """Refuse an output folder with files of other origin that would be replaced."""
    command = "nnUNetv2_crln_compare"
    refuse_to_replace(options.output / COMPARISON_FILE, TABLE_MARK, command)
    refuse_to_replace(options.output / MEASURED_STEPS_FILE, '"seconds": ', command)
    for method in options.methods:
        refuse_to_replace(options.report_file(method), PAGE_MARK, command)
        _refuse_predictions_of_others(options.evaluation_file(method).parent)


def _refuse_predictions_of_others(folder: Path) -> None:
    """Refuse a folder of predictions that no comparison has made: its files would be replaced."""
    if os.path.lexists(folder) and not (folder / COMPARISON_MARK).is_file():
        raise UserError(
            f"{folder} exists and was not made by nnUNetv2_crln_compare, which writes its own predictions there. "
            "Choose another output folder with -o, or rename this one."
        )


def _evaluate(
    method: str, runs: list[Training], options: CompareOptions, folders: DatasetFolders, cases: Sequence[str]
) -> Mapping:
    """Evaluate the predictions of all folds of a method together."""
    folder = options.evaluation_file(method).parent
    _refuse_predictions_of_others(folder)  # again: the trainings may have taken days
    folder.mkdir(parents=True, exist_ok=True)
    (folder / COMPARISON_MARK).touch()
    dataset_json = read_dataset_json(folders.raw)
    ending = dataset_json["file_ending"]
    for former in list(folder.glob(f"*{ending}")):  # predictions of an earlier comparison, and nothing of the user's
        for path, _ in with_companions(former, former, is_label=True):
            path.unlink()
    for run in runs:
        if run.method == method:
            for path in sorted(run.validation.glob(f"*{ending}")):
                if path.name.removesuffix(ending) in cases:
                    for source, place in with_companions(path, folder / path.name, is_label=True):
                        shutil.copyfile(source, place)
    labels = folders.preprocessed / VALIDATION_LABELS
    # nnU-Net has paired these labels with their images by index; planning has warned about odd headers. They must not
    # end a comparison after all its trainings.
    summary = evaluate_folder(labels, folder, dataset_json, allow_missing=True, by_index=True)
    for remark in summary.get("remarks", ()):
        print(f"{method}: {remark}")
    write_json_with_nulls(summary, options.evaluation_file(method))
    return summary
