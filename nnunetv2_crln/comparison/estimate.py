"""Estimate the cost of a comparison from a few steps of each method."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from nnunetv2_crln.comparison.measure_step import RESULT_MARK
from nnunetv2_crln.comparison.options import RECIPE, SUPERVISED, CompareOptions
from nnunetv2_crln.comparison.trainings import Training
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.utilities.durations import duration
from nnunetv2_crln.utilities.json_files import read_json, write_json


def measure_methods(todo: Sequence[Training], options: CompareOptions, kept_in: Path) -> dict[str, dict[str, float]]:
    """Measure a few steps of each method that must be trained, unless they were measured before.

    Args:
        todo: Trainings to come.
        options: Options of the command.
        kept_in: File that keeps the measurements.

    Returns:
        Results of ``measure_step``, by method.

    Raises:
        UserError: A method cannot be trained; the message shows the reason.
    """
    setting = f"{options.plans_name} {options.configuration} {options.device}"
    known = read_json(kept_in) if kept_in.is_file() else {}
    # Measurements of an earlier version have no memory_gib: they are made again.
    measured = {method: values for method, values in known.get(setting, {}).items() if "memory_gib" in values}
    for training in todo:
        # A recipe takes the steps of supervised training, on data that do not exist yet.
        method = SUPERVISED if training.method == RECIPE else training.method
        if method not in measured:
            print(f"Measuring a few steps of {method} ...", flush=True)
            measured[method] = _measure(training, options)
            write_json({**known, setting: measured}, kept_in)
    return {**measured, RECIPE: measured[SUPERVISED]} if SUPERVISED in measured else measured


def _measure(training: Training, options: CompareOptions) -> dict[str, float]:
    command = [sys.executable, "-m", "nnunetv2_crln.comparison.measure_step", "-d", str(options.dataset_id)]
    command += ["-c", options.configuration, "-f", str(training.fold), "-tr", training.trainer]
    command += ["-p", options.plans_name, "-device", options.device]
    with tempfile.TemporaryDirectory() as results:
        environment = {**os.environ, "nnUNet_results": results, **gpu_environment(options.gpus[:1])}
        done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", errors="replace")
    lines = [line for line in done.stdout.splitlines() if line.startswith(RESULT_MARK)]
    if done.returncode or not lines:
        last = "\n".join([*done.stdout.splitlines()[-5:], *done.stderr.splitlines()[-15:]])
        raise UserError(f"{training.method} cannot be trained. The last lines of its first steps:\n\n{last}")
    return json.loads(lines[-1].removeprefix(RESULT_MARK))


def gpu_environment(gpus: Sequence[int]) -> dict[str, str]:
    """Return the environment variable that restricts a process to these GPUs; empty for all."""
    return {"CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))} if gpus else {}


def describe_cost(
    todo: Sequence[Training], measured: Mapping[str, Mapping[str, float]], places: int, device: str
) -> str:
    """Describe how long the trainings will take and how much memory they need.

    Args:
        todo: Trainings to come.
        measured: Measurements by method.
        places: Number of trainings that run at a time.
        device: Device of the trainings.

    Returns:
        A few lines of text.
    """
    where = "GPU memory" if device == "cuda" else "memory"
    lines, total = [], 0.0
    for method in dict.fromkeys(training.method for training in todo):
        values, number = measured[method], sum(training.method == method for training in todo)
        each = values["seconds"] * values["steps"]
        total += each * number
        lines.append(
            f"  {method}: {number} training(s) of about {duration(each)} ({values['seconds']:.2f} s a step), "
            f"{values['memory_gib']:.1f} GiB of {where}"
        )
    together = f", {places} at a time" if places > 1 else ""
    lines.append(f"  in all about {duration(total / places)}{together}, and the prediction of the held-out cases")
    return "\n".join(["This will take:", *lines])
