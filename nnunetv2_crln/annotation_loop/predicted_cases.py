"""Evaluate a model's confidence in all unlabelled cases, one after the other, and keep finished results."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nnunetv2_crln.annotation_loop.confidence import structure_confidences
from nnunetv2_crln.annotation_loop.order_scans import Structure
from nnunetv2_crln.annotation_loop.volume_predictor import VolumePrediction, VolumePredictor
from nnunetv2_crln.raw_dataset.classes import foreground_names
from nnunetv2_crln.utilities.json_files import nan_to_null, null_to_nan, read_json, write_json


@dataclass(frozen=True)
class PredictedCase:
    """Stored result of one prediction.

    Attributes:
        structures: Confidence and size of each structure, by name.
        descriptor: Vector for comparing scans.
        details: Result of the caller's ``on_prediction``.
    """

    structures: Mapping[str, Structure]
    descriptor: np.ndarray
    details: dict


def predict_cases(
    predictor: VolumePredictor,
    kept_in: Path,
    on_prediction: Callable[[VolumePrediction], dict],
    settings: dict,
    show_progress: bool = True,
) -> dict[str, PredictedCase]:
    """Predict every unlabelled case that was not predicted by an earlier run.

    Args:
        predictor: The model and its cases.
        kept_in: Folder for one file per case, from which an interrupted run continues.
        on_prediction: Called with each new prediction; its result is stored as ``details``. It must have written its
            files when it returns, because the case then counts as done.
        settings: Options of ``on_prediction``; cases stored under others are predicted again.
        show_progress: Show a progress bar.

    Returns:
        The result for each case.
    """
    kept_in.mkdir(parents=True, exist_ok=True)
    names = foreground_names(predictor.dataset_json, predictor.label_manager)
    predicted = {}
    for case in tqdm(predictor.cases, desc="Predicting whole scans", unit="case", disable=not show_progress):
        path = kept_in / f"{case}.json"
        made_from = {**predictor.record(case), "settings": settings, "structures": names}
        content = _kept(path, made_from)
        if content is None:
            prediction = predictor(case)
            structures = structure_confidences(prediction, names, predictor.label_manager)
            content = {
                "made_from": made_from,
                "structures": nan_to_null({name: [s.expected_dice, s.volume_ml] for name, s in structures.items()}),
                "descriptor": [float(value) for value in prediction.descriptor],
                "details": on_prediction(prediction),
            }
            write_json(content, path)
        predicted[case] = PredictedCase(
            {name: Structure(*values) for name, values in null_to_nan(content["structures"]).items()},
            np.array(content["descriptor"]),
            content["details"],
        )
    return predicted


def _kept(path: Path, made_from: dict) -> dict | None:
    with contextlib.suppress(OSError, ValueError):  # missing or damaged: the case is done again
        content = read_json(path)
        # Files of version 0.1.0 have no details under this name.
        if isinstance(content, dict) and content.get("made_from") == made_from and "details" in content:
            return content
    return None
