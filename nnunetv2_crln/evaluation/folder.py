"""Evaluate a folder of predictions against a folder of labels, in parallel."""

from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

import numpy as np

from nnunetv2_crln.errors import UserError, did_you_mean_path, listing
from nnunetv2_crln.evaluation.bootstrap import CONFIDENCE_LEVEL, bootstrap_mean
from nnunetv2_crln.evaluation.case import Case, Measured, evaluate_case
from nnunetv2_crln.evaluation.metrics import METRICS
from nnunetv2_crln.layout import LABELS_TEST
from nnunetv2_crln.raw_dataset.classes import LabelDefinition, label_definition
from nnunetv2_crln.raw_dataset.dataset_json import read_dataset_json, required_entry
from nnunetv2_crln.raw_dataset.readers import reader_class_of
from nnunetv2_crln.utilities.cores import one_per_core
from nnunetv2_crln.utilities.names import with_hint
from nnunetv2_crln.utilities.parallel import run_parallel

FORMAT_VERSION = 1
LISTED_OFFENDERS = 5


def evaluate_folder(
    labels: str | Path,
    predictions: str | Path,
    dataset_json: str | Path | Mapping | None = None,
    num_processes: int | None = None,
    resamples: int = 100,
    seed: int = 0,
    allow_missing: bool = False,
    show_progress: bool = True,
    ignore_origin: bool = False,
    by_index: bool = False,
) -> dict:
    """Evaluate every case and class, and compute the means with their bootstrap standard deviation and interval.

    Args:
        labels: Folder of label files.
        predictions: Folder of predictions, named like the labels; other files of nnU-Net in it are ignored.
        dataset_json: Path or content of dataset.json; None takes the file beside the labels folder, or else the one in
            the predictions folder.
        num_processes: Number of worker processes; 1 works in this process. None takes nnU-Net's number, at most one per
            core and case.
        resamples: Number of bootstrap resamples.
        seed: Seed of the bootstrap.
        allow_missing: Evaluate the cases that have a prediction (e.g. a fold's validation cases) and list the others.
        show_progress: Show a progress bar on stderr.
        ignore_origin: Compare voxel by voxel although the origins in the headers differ.
        by_index: Compare voxel by voxel whatever the headers say, as nnU-Net's training pairs images and labels.

    Returns:
        The evaluation, as described in docs/evaluation.md; undefined numbers are NaN.

    Raises:
        UserError: A folder or file is missing or superfluous, the geometries differ, labels are unknown, or an option
            is out of range.
    """
    labels, predictions = Path(labels), Path(predictions)
    _check_options(num_processes, resamples, seed)
    content, source = _dataset_json(dataset_json, labels, predictions)
    definition = label_definition(content)
    cases, missing = pair_cases(labels, predictions, required_entry(content, "file_ending"), allow_missing)
    reader_class = reader_class_of(content, cases[0].reference_file, is_label=True)
    measured = _evaluate_cases(cases, reader_class, definition, num_processes, show_progress, ignore_origin, by_index)
    remarks = [measured[case.name].remark for case in cases if measured[case.name].remark]
    result = {
        "format_version": FORMAT_VERSION,
        "labels_folder": str(labels.resolve()),
        "predictions_folder": str(predictions.resolve()),
        "dataset_json": source,
        "bootstrap": {"resamples": resamples, "seed": seed, "confidence_level": CONFIDENCE_LEVEL},
        "classes": {name: list(values) for name, values in definition.classes.items()},
        "num_cases": len(cases),
        "missing_predictions": missing,
        "cases": {
            case.name: {
                "reference_file": str(case.reference_file.resolve()),
                "prediction_file": str(case.prediction_file.resolve()),
                "metrics": measured[case.name].metrics,
            }
            for case in cases
        },
    }
    return {**result, **({"remarks": remarks} if remarks else {}), **_means(result, resamples, seed)}


def check_folders(
    labels: str | Path,
    predictions: str | Path,
    dataset_json: str | Path | Mapping | None = None,
    allow_missing: bool = False,
) -> None:
    """Find the mistakes that can be found without reading images.

    Args:
        labels: Folder of label files.
        predictions: Folder of predictions.
        dataset_json: Path or content of dataset.json; None searches for it as :func:`evaluate_folder` does.
        allow_missing: Accept labels without a prediction.

    Raises:
        UserError: A folder or file is missing or superfluous, or dataset.json is not valid.
    """
    content, _ = _dataset_json(dataset_json, Path(labels), Path(predictions))
    label_definition(content)
    pair_cases(Path(labels), Path(predictions), required_entry(content, "file_ending"), allow_missing)


def find_dataset_json(labels_folder: Path, predictions_folder: Path) -> Path:
    """Find the dataset.json beside the labels folder (as in nnUNet_raw), or else nnU-Net's copy with the predictions.

    Args:
        labels_folder: Folder of label files.
        predictions_folder: Folder of predictions.

    Returns:
        Path of the file.

    Raises:
        UserError: Neither place has a dataset.json.
    """
    candidates = [labels_folder.resolve().parent / "dataset.json", predictions_folder / "dataset.json"]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise UserError(
        f"No dataset.json found; looked for {candidates[0]} and {candidates[1]}. "
        f"Name it with -djfile PATH (dataset_json=... in Python)."
    )


def values_of(summary: Mapping, metric: str, classes: list[str], cases: Iterable[str] | None = None) -> np.ndarray:
    """Extract one metric from an evaluation.

    Args:
        summary: Result of :func:`evaluate_folder`.
        metric: Key of the metric, e.g. ``Dice``.
        classes: Class names.
        cases: Case names; None takes all.

    Returns:
        Values, (cases, classes), NaN where undefined.
    """
    names = summary["cases"] if cases is None else cases
    return np.array([[summary["cases"][case]["metrics"][name][metric] for name in classes] for case in names], float)


def pair_cases(
    labels: Path, predictions: Path, file_ending: str, allow_missing: bool = False
) -> tuple[list[Case], list[str]]:
    """Match the label and prediction files of the dataset's ending by name.

    Args:
        labels: Folder of label files.
        predictions: Folder of predictions.
        file_ending: File ending of both, with its dot. Files with another ending and hidden files are ignored.
        allow_missing: Accept labels without a prediction.

    Returns:
        The cases, sorted by name, and the names of the labels without a prediction.

    Raises:
        UserError: A folder has no such file, a prediction has no label, or a label has no prediction.
    """
    references, predicted = (_files(folder, file_ending) for folder in (labels, predictions))
    extra = sorted(set(predicted) - set(references))
    if extra:
        raise UserError(
            f"{len(extra)} prediction(s) in {predictions} have no label in {labels}: "
            f"{listing(with_hint(name, references) for name in extra)}. "
            f"Remove them or name the folder that holds their labels."
        )
    missing = sorted(set(references) - set(predicted))
    if missing and not allow_missing:
        raise UserError(
            f"{len(missing)} of {len(references)} label(s) in {labels} have no prediction in {predictions}: "
            f"{listing(with_hint(name, predicted) for name in missing)}. "
            "Predict them, or evaluate only the others: --chill (allow_missing=True in Python)."
        )
    images = labels.resolve().parent / labels.resolve().name.replace("labels", "images", 1)
    return [
        Case(name, references[name], predicted[name], images / f"{name}_0000{file_ending}")
        for name in sorted(predicted)
    ], missing


def _files(folder: Path, file_ending: str) -> dict[str, Path]:
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    found = {path.name[: -len(file_ending)]: path for path in files if path.name.endswith(file_ending)}
    if not found:
        others = sorted(path.name for path in files)
        raise UserError(
            f"No file ending in {file_ending} (file_ending in dataset.json) in {folder}, which holds "
            f"{listing(others) if others else 'no file'}. Correct the folder or the dataset.json."
        )
    return found


def _check_options(num_processes: int | None, resamples: int, seed: int) -> None:
    if num_processes is not None and num_processes < 1:
        raise UserError(f"Number of processes is {num_processes}, expected 1 or more. Correct -np.")
    if resamples < 2:
        raise UserError(f"Number of bootstrap resamples is {resamples}, expected 2 or more. Correct --bootstrap.")
    if seed < 0:
        raise UserError(f"Seed is {seed}, expected 0 or more. Correct --seed.")


def _dataset_json(given: str | Path | Mapping | None, labels: Path, predictions: Path) -> tuple[Mapping, str]:
    for folder, what in ((labels, "Labels"), (predictions, "Predictions")):
        if not folder.is_dir():
            hint = did_you_mean_path(folder)
            if folder.name == LABELS_TEST:  # labelsTr resembles it, but scores on training cases say nothing
                hint = " If there are no test cases, compare methods on the folds: nnUNetv2_crln_compare -h"
            raise UserError(f"{what} folder {folder} does not exist or is not a folder. Correct the path.{hint}")
    if isinstance(given, Mapping):
        return given, "given as a dictionary"
    path = find_dataset_json(labels, predictions) if given is None else Path(given)
    return read_dataset_json(path), str(path.resolve())


def _evaluate_cases(
    cases: list[Case],
    reader_class: type,
    definition: LabelDefinition,
    num_processes: int | None,
    show_progress: bool,
    ignore_origin: bool,
    by_index: bool,
) -> dict[str, Measured]:
    """Return the metrics by case name; stop at the fifth case that cannot be evaluated and report these together."""
    measured: dict[str, Measured] = {}
    problems: list[str] = []
    tasks = {case.name: (case, reader_class, definition, ignore_origin, by_index) for case in cases}
    processes = num_processes or _default_processes()
    with closing(run_parallel(evaluate_case, tasks, processes, "Evaluating", show_progress)) as outcomes:
        for outcome in outcomes:
            measured[outcome.name] = outcome.value
            problems += [outcome.error] if outcome.error else []
            if len(problems) == LISTED_OFFENDERS:
                break
    if problems:
        found = f"{len(problems)} of {len(measured)} case(s) read so far cannot be evaluated:"
        raise UserError("\n".join([found, *sorted(problems)]))
    return measured


def _default_processes() -> int:
    from nnunetv2.configuration import default_num_processes

    return max(1, one_per_core(default_num_processes))


def _means(result: Mapping, resamples: int, seed: int) -> dict[str, dict]:
    names = list(result["classes"])

    def averaged(classes: list[str]) -> dict[str, dict]:
        return {
            metric.key: bootstrap_mean(values_of(result, metric.key, classes), resamples, seed) for metric in METRICS
        }

    return {"mean": {name: averaged([name]) for name in names}, "foreground_mean": averaged(names)}
