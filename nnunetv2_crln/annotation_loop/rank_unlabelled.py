"""Rank the unlabelled scans, least understood first: a CSV file, and a page with thumbnails."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnunetv2_crln.annotation_loop.confidence import voxel_confidence
from nnunetv2_crln.annotation_loop.order_scans import Ranked, rank, stratified_uncertainty
from nnunetv2_crln.annotation_loop.predicted_cases import PredictedCase, predict_cases
from nnunetv2_crln.annotation_loop.volume_predictor import ModelChoice, VolumePrediction, VolumePredictor
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import RANKING_LOCK
from nnunetv2_crln.preprocessed_dataset.image_changes import refuse_changed_images
from nnunetv2_crln.reporting.blocks import PAGE_MARK
from nnunetv2_crln.reporting.ranking_page import RankedScan, build_ranking_page
from nnunetv2_crln.reporting.style import save_figure
from nnunetv2_crln.reporting.thumbnail import DPI, draw_thumbnail
from nnunetv2_crln.utilities.files import csv_text, refuse_to_replace, write_text
from nnunetv2_crln.utilities.locking import FolderLock

_COLUMNS = ("rank", "case", "uncertainty", "novelty", "most_like")


@dataclass(frozen=True)
class RankingFiles:
    """Files of one ranking.

    Attributes:
        table: CSV file.
    """

    table: Path

    @property
    def page(self) -> Path:
        """Page with thumbnails."""
        return self.table.with_suffix(".html")

    @property
    def cases(self) -> Path:
        """Folder with the result and the thumbnail of each case."""
        return self.table.with_name(f"{self.table.stem}_cases")


def rank_unlabelled(choice: ModelChoice, output: Path, show_progress: bool = True) -> list[Ranked]:
    """Rank all unlabelled cases of a model's dataset and write the result.

    Args:
        choice: The model.
        output: The CSV to write; page and thumbnails lie beside it.
        show_progress: Show a progress bar.

    Returns:
        The ranking.

    Raises:
        UserError: Bad input, images are missing or were replaced, or another run is writing the same ranking.
    """
    if output.suffix != ".csv" or output.is_dir():
        raise UserError(f"-o {output}: expected the name of a file ending in .csv, such as {output / 'ranking.csv'}.")
    files = RankingFiles(output)
    _refuse_files_of_others(files)
    predictor = VolumePredictor(choice)
    refuse_changed_images(predictor.folders, predictor.status, predictor.plans_manager, predictor.configuration)
    files.cases.mkdir(parents=True, exist_ok=True)
    with FolderLock(files.cases / RANKING_LOCK) as lock:
        lock.acquire(f"Another run is writing {output}. Wait until it ends, or choose another file with -o.")
        draw = _Thumbnails(predictor, files.cases)
        predicted = predict_cases(predictor, files.cases, draw, {}, show_progress)
        uncertainty = stratified_uncertainty({case: entry.structures for case, entry in predicted.items()})
        ranking = rank(uncertainty, {case: entry.descriptor for case, entry in predicted.items()})
        write_text(output, ranking_table(ranking, predicted))
        scans = [_scan(place, predicted[place.case], files.cases) for place in ranking]
        title = f"What to annotate next in {predictor.plans_manager.dataset_name}"
        write_text(files.page, build_ranking_page(title, str(predictor.model), scans))
    return ranking


def _refuse_files_of_others(files: RankingFiles) -> None:
    command = "nnUNetv2_crln_rank"
    refuse_to_replace(files.table, ",".join(_COLUMNS), command)
    refuse_to_replace(files.page, PAGE_MARK, command)
    lock = files.cases / RANKING_LOCK
    if os.path.lexists(files.cases) and not lock.exists() and not (files.cases.is_dir() and _is_empty(files.cases)):
        raise UserError(
            f"{files.cases} exists and was not made by {command}, which writes the result of each case there. Choose "
            "another name with -o, or move it away."
        )


def _is_empty(folder: Path) -> bool:
    return not any(folder.iterdir())


class _Thumbnails:
    """Draw the slice of a scan in which the model is least confident."""

    def __init__(self, predictor: VolumePredictor, folder: Path) -> None:
        self._labels, self._folder = predictor.label_manager, folder
        self._spacing = [float(value) for value in predictor.configuration_manager.spacing]

    def __call__(self, prediction: VolumePrediction) -> dict:
        probabilities = self._labels.apply_inference_nonlin(prediction.logits)
        confidence = voxel_confidence(probabilities.numpy(), self._labels.has_regions)
        labels = np.asarray(self._labels.convert_probabilities_to_segmentation(probabilities))
        spacing = self._spacing if len(self._spacing) == 3 else [1.0, *self._spacing]
        figure = draw_thumbnail(prediction.image[0], labels, confidence, spacing)
        save_figure(figure, self._folder / f"{prediction.case}.png", DPI)
        return {}


def ranking_table(ranking: list[Ranked], predicted: Mapping[str, PredictedCase]) -> str:
    """Format the ranking as CSV, one line per case, the one to annotate first at the top.

    Args:
        ranking: The ranking.
        predicted: Results by case.

    Returns:
        Text of the file.
    """
    names = list(next(iter(predicted.values())).structures) if predicted else []
    columns = [column for name in names for column in (f"expected Dice {name}", f"ml {name}")]
    rows: list[list[object]] = [[*_COLUMNS, *columns]]
    for number, place in enumerate(ranking, start=1):
        structures = predicted[place.case].structures
        values = [
            text for n in names for text in (_number(structures[n].expected_dice), _number(structures[n].volume_ml))
        ]
        rows.append([number, place.case, f"{place.uncertainty:.4f}", f"{place.novelty:.4f}", place.most_like, *values])
    return csv_text(rows)


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"


def _scan(place: Ranked, predicted: PredictedCase, folder: Path) -> RankedScan:
    return RankedScan(
        place.case,
        place.uncertainty,
        place.novelty,
        place.most_like,
        {name: (s.expected_dice, s.volume_ml) for name, s in predicted.structures.items()},
        folder / f"{place.case}.png",
    )
