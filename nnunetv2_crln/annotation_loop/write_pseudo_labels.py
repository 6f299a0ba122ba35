"""Write a stock nnU-Net dataset with a model's confident pseudo labels: gated self-training."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnunetv2_crln.annotation_loop.confidence import voxel_confidence
from nnunetv2_crln.annotation_loop.order_scans import stratified_uncertainty
from nnunetv2_crln.annotation_loop.predicted_cases import PredictedCase, predict_cases
from nnunetv2_crln.annotation_loop.volume_predictor import ModelChoice, VolumePrediction, VolumePredictor
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import (
    DATASET_RECORD,
    IMAGES_LABELLED,
    IMAGES_TEST,
    LABELS_LABELLED,
    LABELS_TEST,
    NUM_FOLDS,
    PSEUDO_LABELLED_CASES,
    PSEUDO_LABELS_FILE,
    RAW_LOCK,
    SPLITS_FILE,
    dataset_title,
)
from nnunetv2_crln.plan_and_preprocess.options import DEFAULT_PROCESSES
from nnunetv2_crln.preprocessed_dataset.image_changes import refuse_changed_images
from nnunetv2_crln.preprocessed_dataset.splits import read_splits, usual_split
from nnunetv2_crln.raw_dataset.annotated_labels import annotated_labels
from nnunetv2_crln.raw_dataset.cases import find_labelled_cases, find_unlabelled_cases, list_files
from nnunetv2_crln.raw_dataset.check_dataset_json import refuse_changed_labels
from nnunetv2_crln.raw_dataset.companions import with_companions
from nnunetv2_crln.raw_dataset.dataset_json import read_dataset_json
from nnunetv2_crln.raw_dataset.folders import dataset_folder_name, raw_root, refuse_other_names
from nnunetv2_crln.utilities.files import csv_text, finished_file, write_text
from nnunetv2_crln.utilities.json_files import write_json
from nnunetv2_crln.utilities.locking import FolderLock


@dataclass(frozen=True)
class Gate:
    """Conditions that a pseudo label must pass.

    Attributes:
        keep: Share of the unlabelled cases that become labelled ones, the most confident first.
        confidence: Smallest confidence; voxels below it get the ignore label.
    """

    keep: float = 0.5
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise UserError(f"--keep {self.keep}: expected a number above 0, at most 1.")
        if not 0 <= self.confidence <= 1:
            raise UserError(f"--confidence {self.confidence}: expected a number from 0 to 1.")


@dataclass(frozen=True)
class Written:
    """Result of writing a dataset.

    Attributes:
        folder: Folder of the new dataset.
        accepted: Cases with a pseudo label, the surest first.
        rejected: Cases without, the surest first.
        configuration: Configuration to train on it: the model's own, if nnU-Net plans it.
    """

    folder: Path
    accepted: list[str]
    rejected: list[str]
    configuration: str


def write_pseudo_labels(
    choice: ModelChoice, dataset_id: int, gate: Gate, name: str | None = None, show_progress: bool = True
) -> Written:
    """Predict all unlabelled cases, and write those that pass the gate, with all labelled ones, as a new dataset.

    Args:
        choice: The model.
        dataset_id: Number of the new dataset.
        gate: What passes.
        name: Name of the new dataset after its number; that of the source with "Pseudo" if not given.
        show_progress: Show a progress bar.

    Returns:
        What was written. It appears as a whole or not at all.

    Raises:
        UserError: Bad input, or a dataset of this number exists.
    """
    predictor = VolumePredictor(choice)
    folder_name = dataset_folder_name(dataset_id, name or f"{dataset_title(predictor.folders.name)}Pseudo")
    refuse_other_names(dataset_id, folder_name)
    target = raw_root() / folder_name
    if target.exists():
        raise UserError(f"{target} exists already. Choose another number with -d, or remove it.")
    root = os.environ.get("nnUNet_preprocessed")
    return write_dataset(predictor, target, gate, show_progress, Path(root) / folder_name if root else None)


def write_dataset(
    predictor: VolumePredictor,
    target: Path,
    gate: Gate,
    show_progress: bool = True,
    preprocessed: Path | None = None,
) -> Written:
    """Predict all unlabelled cases, and write those that pass the gate, with all labelled ones, into a folder.

    Args:
        predictor: Model and dataset.
        target: Folder to make.
        gate: What passes.
        show_progress: Show a progress bar.
        preprocessed: Folder for a copy of the folds, where nnU-Net reads them; None if it does not read them.

    Returns:
        What was written. It appears as a whole or not at all.

    Raises:
        UserError: dataset.json has other labels than the model, images are missing or were replaced, no case passes,
            or another run writes the folder.
    """
    refuse_changed_labels(predictor.folders.raw, predictor.dataset_json, predictor.model / "dataset.json")
    refuse_changed_images(predictor.folders, predictor.status, predictor.plans_manager, predictor.configuration)
    # The leading dot hides the growing folder from nnU-Net's search by number.
    building = target.with_name(f".{target.name}_building")
    building.mkdir(parents=True, exist_ok=True)
    with FolderLock(building / RAW_LOCK) as lock:
        lock.acquire(f"{target} is being written by another run. Wait until it ends.")
        # Two folders: a result and the spacing of a TIFF label would both be named CASE.json.
        export = _Exporter(predictor, gate.confidence, building / "predicted")
        predicted = predict_cases(
            predictor, building / "judged", export, {"confidence": gate.confidence}, show_progress
        )
        uncertainty = stratified_uncertainty({case: entry.structures for case, entry in predicted.items()})
        surest_first = sorted(uncertainty, key=lambda case: (uncertainty[case], case))
        number = round(gate.keep * len(surest_first))
        accepted, rejected = surest_first[:number], surest_first[number:]
        if not accepted:
            raise UserError(
                f"--keep {gate.keep} of {len(surest_first)} unlabelled cases accepts none. Keep a larger share."
            )
        dataset = _Assembly(predictor, building / "dataset", export.ignore_label, export.ending)
        dataset.write(accepted, building / "predicted")
        write_text(dataset.folder / PSEUDO_LABELS_FILE, gate_table(predicted, uncertainty, accepted, rejected))
        if preprocessed is not None and (dataset.folder / SPLITS_FILE).is_file():
            preprocessed.mkdir(parents=True, exist_ok=True)
            with finished_file(preprocessed / SPLITS_FILE) as temporary:
                shutil.copyfile(dataset.folder / SPLITS_FILE, temporary)
        dataset.folder.rename(target)
    shutil.rmtree(building, ignore_errors=True)
    configuration = predictor.configuration if predictor.configuration in DEFAULT_PROCESSES else "3d_fullres"
    return Written(target, accepted, rejected, configuration)


class _Exporter:
    """Write one pseudo label on the grid of its scan, with the ignore label for unconfident voxels."""

    def __init__(self, predictor: VolumePredictor, confidence: float, folder: Path) -> None:
        self._predictor, self._confidence, self._folder = predictor, confidence, folder
        labels = predictor.label_manager
        # An int for JSON: nnU-Net's labels are NumPy numbers.
        self.ignore_label = int(labels.ignore_label if labels.has_ignore_label else max(labels.all_labels) + 1)
        self.ending = predictor.dataset_json["file_ending"]

    def __call__(self, prediction: VolumePrediction) -> dict:
        segmentation, probabilities = self._predictor.in_original_space(prediction)
        confidence = voxel_confidence(np.asarray(probabilities), self._predictor.label_manager.has_regions)
        doubtful = confidence < self._confidence
        labels = np.where(doubtful, self.ignore_label, segmentation).astype(
            np.uint8 if self.ignore_label < 256 else np.uint16
        )
        self._write(f"{prediction.case}{self.ending}", labels, prediction.properties)
        return {"doubtful": float(doubtful.mean())}

    def _write(self, name: str, labels: np.ndarray, properties: dict) -> None:
        """Write a label under its name, after which nnU-Net names the spacing beside TIFF, and bring in all files."""
        self._folder.mkdir(parents=True, exist_ok=True)
        writer = self._predictor.plans_manager.image_reader_writer_class()
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".") as temporary:
            written = Path(temporary) / name
            writer.write_seg(labels, str(written), properties)
            for source, place in reversed(with_companions(written, self._folder / name, is_label=True)):
                with finished_file(place) as finished:
                    os.replace(source, finished)


class _Assembly:
    """Assemble the new dataset: links to all scans, true labels, accepted pseudo labels, folds."""

    def __init__(self, predictor: VolumePredictor, folder: Path, ignore_label: int, ending: str) -> None:
        self.folder = folder
        self._raw, self._preprocessed = predictor.folders.raw, predictor.folders.preprocessed
        self._model, self._ignore, self._ending = predictor.model, ignore_label, ending
        self._reader_writer = predictor.plans_manager.image_reader_writer_class()

    def write(self, accepted: list[str], predicted: Path) -> None:
        """Write everything into a fresh folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in (IMAGES_LABELLED, LABELS_LABELLED):
            (self.folder / name).mkdir(parents=True)
        dataset_json = read_dataset_json(self._raw)
        labelled = find_labelled_cases(self._raw, dataset_json)
        partly = annotated_labels(dataset_json, list(labelled))
        for case, files in labelled.items():
            self._link_images(case, files["images"])
            target = self.folder / LABELS_LABELLED / f"{case}{self._ending}"
            if case in partly:
                self._ignore_background(files["label"], target)
                continue
            for source, place in with_companions(files["label"], target, is_label=True):
                _link(source, place)
        unlabelled = find_unlabelled_cases(self._raw, dataset_json)
        for case in accepted:
            self._link_images(case, unlabelled[case])
            target = self.folder / LABELS_LABELLED / f"{case}{self._ending}"
            for source, place in with_companions(predicted / target.name, target, is_label=True):
                shutil.copyfile(source, place)
        for name in (IMAGES_TEST, LABELS_TEST):
            for file in list_files(self._raw / name):
                (self.folder / name).mkdir(exist_ok=True)
                _link(self._raw / name / file, self.folder / name / file)
        self._write_dataset_json(dataset_json, list(labelled), accepted)
        if split := self._split(list(labelled), accepted):
            write_json(split, self.folder / SPLITS_FILE)

    def _ignore_background(self, label: str, target: Path) -> None:
        """Write a label of which the background may be any class that is not annotated in it."""
        voxels, properties = self._reader_writer.read_seg(label)
        ignored = np.where(voxels[0] == 0, self._ignore, voxels[0])
        self._reader_writer.write_seg(
            ignored.astype(np.uint8 if self._ignore < 256 else np.uint16), str(target), properties
        )

    def _link_images(self, case: str, files: list[str]) -> None:
        for channel, file in enumerate(files):
            target = self.folder / IMAGES_LABELLED / f"{case}_{channel:04d}{self._ending}"
            for source, place in with_companions(file, target):
                if not place.is_symlink():
                    _link(source, place)

    def _write_dataset_json(self, source: dict, labelled: list[str], accepted: list[str]) -> None:
        content = {key: value for key, value in source.items() if key not in ("dataset", DATASET_RECORD)}
        content["labels"] = {**source["labels"], "ignore": self._ignore}
        content["numTraining"] = len(labelled) + len(accepted)
        content[DATASET_RECORD] = {"pseudo_labels_of": str(self._model), PSEUDO_LABELLED_CASES: sorted(accepted)}
        write_json(content, self.folder / "dataset.json")

    def _split(self, labelled: list[str], accepted: list[str]) -> list[dict]:
        """Return folds that validate on true labels only: those of the source, or nnU-Net's for the labelled cases."""
        file = self._preprocessed / SPLITS_FILE
        if file.is_file():
            folds = read_splits(self._preprocessed)
        elif len(labelled) >= NUM_FOLDS:
            folds = usual_split(labelled)
        else:
            return []
        return [{"train": [*fold["train"], *sorted(accepted)], "val": list(fold["val"])} for fold in folds]


def _link(source: Path, target: Path) -> None:
    """Make a link that does not depend on the temporary place of the new dataset."""
    try:
        target.symlink_to(source.resolve())
    except OSError:  # a file system without links
        shutil.copyfile(source, target)


def gate_table(
    predicted: dict[str, PredictedCase], uncertainty: dict[str, float], accepted: list[str], rejected: list[str]
) -> str:
    """Format all unlabelled cases as CSV, the surest first, and which of them were accepted.

    Args:
        predicted: Results by case.
        uncertainty: In [0, 1], by case.
        accepted: Cases with a pseudo label, the surest first.
        rejected: Cases without, the surest first.

    Returns:
        Text of the file.
    """
    rows = [["case", "accepted", "uncertainty", "doubtful_voxels"]]
    for case in (*accepted, *rejected):
        outcome = "yes" if case in accepted else "no"
        rows.append([case, outcome, f"{uncertainty[case]:.4f}", f"{predicted[case].details['doubtful']:.4f}"])
    return csv_text(rows)
