"""Monitor a training: progress_crln.png, pseudo labels of a few fixed cases, and the confidence of all cases.

Monitoring reads the training and never changes it: it draws none of the training's random numbers, and an error ends
the monitoring, not the training.
"""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from nnunetv2_crln.evaluation.pseudo_label_quality import confidence_summary, mean_dice
from nnunetv2_crln.layout import MONITORED, OVERLAY_FOLDER, QUALITY_FILE
from nnunetv2_crln.reporting.overlay import DPI, PseudoLabelPicture, choose_slices, draw_overlay, slice_axis
from nnunetv2_crln.reporting.progress_png import save_progress_png
from nnunetv2_crln.reporting.style import save_figure
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.monitoring.groups import Groups
from nnunetv2_crln.training.monitoring.patch_teacher import PatchTeacher, TeacherPrediction
from nnunetv2_crln.training.monitoring.patches import Patch, PatchReader
from nnunetv2_crln.utilities.json_files import write_json_with_nulls
from nnunetv2_crln.utilities.seeding import derive_seed
from nnunetv2_crln.utilities.share_of_time import ShareOfTime

# A drawing may cost this share of the time since the last one; with short epochs, not every epoch gets a drawing.
DRAWING_SHARE = 0.01
# Half of the ten minutes after which NCCL ends a distributed training, because the other processes wait too long.
RANKING_SECONDS_WHILE_OTHERS_WAIT = 300


class Monitor:
    """Measure and draw between epochs.

    Args:
        reader: Reader of patches of the unlabelled cases.
        teacher: Teacher as a function of a patch.
        settings: Hyper-parameters; the frequencies of monitoring are used.
        class_names: Names of the classes, background first.
        output_folder: Folder of the fold.
        seed: Seed of the training, which determines the fixed cases.
        print_line: Function that prints a line into the training's log.
        groups: Groups of unlabelled cases; None follows none.
    """

    def __init__(
        self,
        reader: PatchReader,
        teacher: PatchTeacher,
        settings: CRLNSettings,
        class_names: Sequence[str],
        output_folder: str | Path,
        seed: int,
        print_line: Callable[[str], None],
        groups: Groups | None = None,
    ) -> None:
        self._reader, self._teacher, self._settings = reader, teacher, settings
        self._cases = sorted(reader.cases)
        self._names, self._print_line = tuple(class_names), print_line
        self._folder = Path(output_folder)
        # A separate generator leaves those of the training unchanged.
        draw = np.random.default_rng(derive_seed(seed, "monitored cases", 0))
        chosen = draw.choice(len(self._cases), min(settings.monitor_cases, len(self._cases)), replace=False)
        self.fixed_cases = [self._cases[i] for i in sorted(chosen)]
        self._groups = groups
        if groups is not None:
            self.fixed_cases = groups.with_monitored(self.fixed_cases)
        self._patches: list[Patch] | None = None
        self._left_out: set[str] = set()
        self._broken = False
        self._drawing = ShareOfTime(DRAWING_SHARE)

    # ---------------------------------------------------------------- every epoch

    def after_epoch(self, epoch: int, last: bool, rectifying: bool) -> dict[str, float]:
        """Measure and draw the fixed cases if this epoch is due.

        Args:
            epoch: Epoch, from 0.
            last: True if the training ends with it; then everything that is switched on is due.
            rectifying: True if rectification has started.

        Returns:
            A value for each of :data:`MONITORED`; NaN if not due or not measurable.
        """
        values = dict.fromkeys(MONITORED, math.nan)
        measure = _due(epoch, self._settings.monitor_every, last)
        draw = _due(epoch, self._settings.overlay_every, last)
        if measure or draw:
            self._call_safely(lambda: values.update(self._look(epoch, rectifying, measure, draw)))
        return values

    def draw_curves(self, logging: dict[str, list], last: bool) -> None:
        """Draw ``progress_crln.png``, unless the last drawing was too recent for its cost.

        Args:
            logging: Curves of nnU-Net's logger, by name.
            last: True if the training ends with this epoch; then the curves are drawn in any case.
        """
        self._drawing.run(lambda: self._call_safely(lambda: save_progress_png(logging, self._folder)), always=last)

    def _look(self, epoch: int, rectifying: bool, measure: bool, draw: bool) -> dict[str, float]:
        if self._patches is None:
            self._patches = [patch for case in self.fixed_cases if (patch := self._read(case))]
        measured = {}
        for patch in self._patches:
            prediction = self._teacher(patch, rectifying, with_map=draw)
            if measure:
                measured[patch.case] = measure_patch(patch, prediction, len(self._names))
            if draw:
                self._save_overlay(epoch, patch, prediction)
        if self._groups is not None:
            self._groups.record(epoch, measured)
        return {key: _mean([m[key] for m in measured.values()]) for key in MONITORED} if measure else {}

    def _read(self, case: str) -> Patch | None:
        """Read a patch; a case that cannot be read is left out and named once."""
        try:
            return self._reader.read(case)
        except Exception as error:
            if case not in self._left_out:
                self._left_out.add(case)
                self._print_line(
                    f"WARNING: {case} is not monitored ({type(error).__name__}: {error}). All other cases are."
                )
            return None

    def _save_overlay(self, epoch: int, patch: Patch, prediction: TeacherPrediction) -> None:
        labels = prediction.rectified.labels
        axis = slice_axis(labels.ndim, patch.spacing)
        around = self._reader.whole_slices(patch, axis, choose_slices(labels, axis))
        picture = PseudoLabelPicture(
            image=patch.image[0],
            raw=prediction.raw.labels,
            rectified=labels,
            confidence=prediction.rectified.confidence,
            relationship_map=prediction.relationship_map,
            truth=patch.truth,
            spacing=patch.spacing,
            class_names=self._names,
            title=f"{patch.case}, epoch {epoch}",
            around=around,
            frame=tuple(bounds for i, bounds in enumerate(patch.box) if i != (axis or 0)),
        )
        path = self._folder / OVERLAY_FOLDER / f"epoch_{epoch:04d}_{patch.case}.png"
        save_figure(draw_overlay(picture), path, DPI)

    # ---------------------------------------------------------------- at the end

    def after_training(self, epoch: int, rectifying: bool, others_wait: bool = False) -> None:
        """Write the teacher's confidence for each unlabelled case to ``pseudo_label_quality.json``.

        Args:
            epoch: Last epoch, from 0.
            rectifying: True if rectification has started.
            others_wait: True if other processes wait for this one; then cases are ranked in random order for at most
                five minutes.
        """
        if self._settings.quality_cases:
            seconds = RANKING_SECONDS_WHILE_OTHERS_WAIT if others_wait else math.inf
            self._call_safely(lambda: self._write_quality(epoch, rectifying, seconds))
            self._call_safely(lambda: self._compare_groups(others_wait))

    def _compare_groups(self, others_wait: bool) -> None:
        for text in self._groups.compare_with_labelled(others_wait) if self._groups is not None else ():
            self._print_line(f"CRLN: {text}")

    def _write_quality(self, epoch: int, rectifying: bool, seconds: float) -> None:
        # Choose evenly over the sorted list, because neighbours in it are often alike.
        limit = self._settings.quality_cases
        stride = max(1, math.ceil(len(self._cases) / limit))
        cases = self._cases[::stride]
        # In random order, so that those that fit into the time are no special ones.
        order = [cases[i] for i in np.random.default_rng(0).permutation(len(cases))]
        quality: dict[str, dict[str, float]] = {}
        start = time.monotonic()
        for case in tqdm(order, desc="Confidence of the teacher for each unlabelled case", mininterval=5):
            if time.monotonic() - start > seconds:
                self._print_line(
                    f"CRLN: {seconds:.0f} s are over; {len(cases) - len(quality)} unlabelled cases are not ranked."
                )
                break
            if patch := self._read(case):
                quality[case] = self._quality(patch, rectifying)
        content = {
            "format_version": 1,
            "epoch": epoch,
            "rectified": rectifying,
            "confidence_threshold": self._settings.confidence_threshold,
            "num_unlabelled": len(self._cases),
            "cases": dict(sorted(quality.items(), key=lambda item: (_rank(item[1]), item[0]))),
        }
        write_json_with_nulls(content, self._folder / QUALITY_FILE)
        self._print_line(f"CRLN: the teacher's confidence for {len(quality)} unlabelled cases: {QUALITY_FILE}")

    def _quality(self, patch: Patch, rectifying: bool) -> dict[str, float]:
        prediction, inside = self._teacher(patch, rectifying), patch.inside
        labels, confidence = prediction.rectified.labels, prediction.rectified.confidence
        threshold = self._settings.confidence_threshold
        result = confidence_summary(labels[inside], confidence[inside], prediction.volumes, threshold)
        if patch.truth is not None:
            result["dice"] = _dice(labels, patch, len(self._names))
        return result

    def _call_safely(self, action: Callable[[], Any]) -> None:
        if self._broken:
            return
        try:
            action()
        except Exception as error:
            # Days of training must not end because a picture could not be written or a patch did not fit in memory.
            self._broken = True
            self._print_line(f"WARNING: monitoring stops, training continues ({type(error).__name__}: {error})")


def measure_patch(patch: Patch, prediction: TeacherPrediction, num_classes: int) -> dict[str, float]:
    """Compute the values of :data:`MONITORED` for one patch.

    Args:
        patch: Patch of an unlabelled case.
        prediction: Prediction of the teacher for it.
        num_classes: Number of classes including background, C.

    Returns:
        Values by name; NaN if not measurable.
    """
    raw, rectified, inside = prediction.raw.labels, prediction.rectified.labels, patch.inside
    m = prediction.map_labels
    return {
        "monitor_confidence_raw": float(prediction.raw.confidence[inside].mean()),
        "monitor_confidence": float(prediction.rectified.confidence[inside].mean()),
        "monitor_changed": float((raw != rectified)[inside].mean()),
        "monitor_foreground": float((rectified > 0)[inside].mean()),
        "pseudo_dice_raw": _dice(raw, patch, num_classes),
        "pseudo_dice": _dice(rectified, patch, num_classes),
        "pseudo_dice_map": math.nan if m is None else _dice(m, patch, num_classes),
    }


def _dice(labels: np.ndarray, patch: Patch, num_classes: int) -> float:
    if patch.truth is None:
        return math.nan
    # Ignored voxels have a value above the classes, voxels outside the image one below.
    known = patch.inside & (patch.truth >= 0) & (patch.truth < num_classes)
    return mean_dice(labels[known], patch.truth[known], num_classes)


def _rank(quality: dict[str, float]) -> float:
    """Return the sort key: least confident cases first, and before them those without any foreground."""
    return -1.0 if math.isnan(quality["expected_dice"]) else quality["expected_dice"]


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if not math.isnan(value)]
    return float(np.mean(finite)) if finite else math.nan


def _due(epoch: int, every: int, last: bool) -> bool:
    return bool(every) and (last or (epoch + 1) % every == 0)
