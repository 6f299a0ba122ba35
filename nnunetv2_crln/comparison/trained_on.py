"""Refuse models that were trained on other labelled cases, folds or plans than those that are there now.

nnU-Net keeps dataset.json and the plans of a training in the folder of its model, and the predictions of the cases that
the fold held out. Without a look at them, a supervised model of ten labelled cases would count as finished beside one
of CRLN that learned from thirty.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.comparison.options import RECIPE, CompareOptions
from nnunetv2_crln.comparison.trainings import Training
from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.layout import DATASET_RECORD, LABELLED_CASES, PLANS_BLOCK, PSEUDO_LABELLED_CASES, SHORT_SCHEDULE
from nnunetv2_crln.preprocessed_dataset.plan_key import plan_key
from nnunetv2_crln.preprocessed_dataset.unlabelled_status import unlabelled_status
from nnunetv2_crln.training.monitoring.facts import read_facts
from nnunetv2_crln.utilities.json_files import read_users_json


def refuse_models_of_other_data(
    runs: Sequence[Training],
    options: CompareOptions,
    preprocessed: Path,
    held_out: Mapping[int, Collection[str]],
    partly: Collection[str] = (),
) -> None:
    """Refuse models, finished or not, of other labelled cases, folds or plans than the present ones.

    Args:
        runs: Trainings of the comparison.
        options: Options of the command.
        preprocessed: ``nnUNet_preprocessed/DatasetXXX_Name``.
        held_out: Cases on which each fold is evaluated now.
        partly: Cases with incomplete labels; whether a fold's validation has them depends on the trainer.

    Raises:
        UserError: There are such models; the message names them.
    """
    dataset_json, plans = (_read(preprocessed / name) for name in ("dataset.json", f"{options.plans_name}.json"))
    unlabelled = _number_of_unlabelled(preprocessed, plans, options.configuration)
    reasons = {}
    for run in runs:
        folder, dataset_file, plans_file = _records(run, options)
        if not (dataset_file.is_file() and plans_file.is_file()):
            continue  # not trained yet
        former = _read(dataset_file)
        if reason := (
            _other_cases(run, former, dataset_json)
            or _other_unlabelled(run, unlabelled)
            or _other_fold(run, held_out[run.fold], partly, dataset_json["file_ending"])
            or _other_plans(_read(plans_file), plans, options)
        ):
            reasons[folder] = reason
    if reasons:
        raise UserError(
            f"{len(reasons)} model(s) were not trained on the data that {preprocessed} holds now: "
            f"{listing(f'{folder} ({reason})' for folder, reason in reasons.items())}. Beside new trainings their "
            "scores would be those of other data, not of a method. Rename these folders to have them trained anew."
        )


def _read(path: Path) -> dict:
    return read_users_json(path, "Correct the file, or rename its folder if it is that of a model.")


def _records(run: Training, options: CompareOptions) -> tuple[Path, Path, Path]:
    """Return the folder to rename, and the dataset.json and plans that a training uses or has used."""
    model = run.folder.parent
    if run.method != RECIPE:
        return model, model / "dataset.json", model / "plans.json"
    # The dataset of a recipe is made once, of the cases and plans of that time, and stays.
    raw, preprocessed = (
        Path(run.environment[name]) / model.parent.name for name in ("nnUNet_raw", "nnUNet_preprocessed")
    )
    return raw.parents[1], raw / "dataset.json", preprocessed / f"{options.plans_name}.json"


def _other_cases(run: Training, former: dict, present: dict) -> str:
    """Return in which way the labelled cases differ; empty if they do not, as far as dataset.json tells."""
    record = former.get(DATASET_RECORD, {})
    predicted = record.get(PSEUDO_LABELLED_CASES, []) if run.method == RECIPE else []
    number, now = former.get("numTraining", 0) - len(predicted), present.get("numTraining", 0)
    if number != now:
        return f"{number} labelled cases, now {now}"
    names, present_names = (each.get(LABELLED_CASES) for each in (record, present.get(DATASET_RECORD, {})))
    return "other labelled cases" if names and present_names and names != present_names else ""


def _number_of_unlabelled(preprocessed: Path, plans: dict, configuration: str) -> int | None:
    """Return the number of unlabelled cases that a training would have now; None if they are not preprocessed."""
    with contextlib.suppress(UserError):
        return len(unlabelled_status(preprocessed, PlansManager(plans), configuration).ready)
    return None


def _other_unlabelled(run: Training, present: int | None) -> str:
    """Tell of a training that had another number of unlabelled cases; empty if not, or if it has recorded none."""
    number = read_facts(run.folder).get("num_cases", {}).get("unlabelled")
    if number is None or present is None or number == present:
        return ""
    return f"fold {run.fold}: {number} unlabelled cases, now {present}"


def _other_fold(run: Training, held_out: Collection[str], partly: Collection[str], file_ending: str) -> str:
    """Return in which way the cases differ that a finished training has held out and so predicted; empty if not."""
    if not run.is_finished:
        return ""
    names = [path.name for path in run.validation.glob(f"*{file_ending}") if not path.name.startswith(".")]
    if not names:
        return "the predictions of its held-out cases are gone: remove its validation/summary.json to have them again"
    predicted = {name.removesuffix(file_ending) for name in names}
    different = sorted((predicted ^ set(held_out)) - set(partly))
    return f"another split: fold {run.fold} differs in {listing(different)}" if different else ""


def _other_plans(former: dict, present: dict, options: CompareOptions) -> str:
    """Return in which way the plans differ; empty if a training under both is the same."""
    if options.configuration not in former.get("configurations", {}):
        return "other plans"
    managers = [PlansManager(plans) for plans in (former, present)]
    configurations = [manager.get_configuration(options.configuration) for manager in managers]
    # Settings of the method are chosen by the user; nnU-Net's own number of epochs does not come from the schedule.
    free = {PLANS_BLOCK} if options.epochs else {PLANS_BLOCK, SHORT_SCHEDULE}
    entries = [{key: value for key, value in c.configuration.items() if key not in free} for c in configurations]
    if changed := sorted(key for key in {**entries[0], **entries[1]} if entries[0].get(key) != entries[1].get(key)):
        return f"other plans: {listing(changed)}"
    keys = [plan_key(*pair) for pair in zip(managers, configurations)]
    return "" if keys[0] == keys[1] else "other plans: normalisation of the data"
