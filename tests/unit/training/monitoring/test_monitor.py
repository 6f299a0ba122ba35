"""The monitor's parts: where patches lie, what is due, what an error does."""

import dataclasses
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nnunetv2_crln.layout import MONITORED, QUALITY_FILE
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.monitoring import monitor as monitoring
from nnunetv2_crln.training.monitoring.monitor import Monitor, measure_patch
from nnunetv2_crln.training.monitoring.patch_teacher import LabelMap, TeacherPrediction
from nnunetv2_crln.training.monitoring.patches import Patch, PatchReader, patch_box, usual_foreground_centre
from nnunetv2_crln.utilities import share_of_time


class Dataset:
    """Cases in memory with the interface of nnU-Net's dataset class."""

    def __init__(self, images: dict[str, np.ndarray], class_locations=None):
        self.images, self.locations = images, class_locations or {}
        self.identifiers = list(images)

    def load_case(self, case):
        return self.images[case], None, None, {"class_locations": self.locations}


def make_patch(truth=True) -> Patch:
    labels = np.array([[0, 1], [1, 0]])
    box = ((0, 1), (0, 2), (0, 2))
    image, inside = np.zeros((1, 2, 2), np.float32), np.ones((2, 2), bool)
    return Patch("case", image, inside, labels if truth else None, (1.0, 1.0), box)


def predicted(labels: list, raw: list | None = None, m: bool = True) -> TeacherPrediction:
    def pseudo(values: list) -> LabelMap:
        return LabelMap(np.array(values, np.int16), np.full(np.shape(values), 0.9, np.float32))

    foreground = np.where(np.array(labels) > 0, 0.9, 0.1)
    p = np.stack([1 - foreground, foreground])
    rectified = pseudo(labels)
    maps = (rectified.labels, p) if m else (None, None)
    return TeacherPrediction(rectified if raw is None else pseudo(raw), rectified, p.sum((1, 2)), *maps)


def make_monitor(tmp_path, teacher=None, cases=10, **settings):
    lines = []
    reader = SimpleNamespace(
        read=lambda case: make_patch(),
        whole_slices=lambda patch, axis, indices: {index: np.zeros((4, 4), np.float32) for index in indices},
        cases=[f"case_{i}" for i in range(cases)],
    )
    monitor = Monitor(
        reader,
        teacher or (lambda patch, rectifying, with_map=False: predicted([[0, 1], [1, 0]])),
        CRLNSettings(**{"overlay_every": 0, **settings}),
        ["background", "organ"],
        tmp_path,
        3,
        lines.append,
    )
    return monitor, lines


# ---------------------------------------------------------------- patches


def test_a_patch_is_moved_into_the_image_and_a_small_image_lies_in_its_middle():
    assert patch_box((10, 10, 4), (4, 4, 6), (0, 9.9, 2)) == [[0, 4], [6, 10], [-1, 5]]


def test_reader_pads_small_images_and_marks_what_is_inside():
    reader = PatchReader(Dataset({"a": np.ones((1, 2, 4, 4))}), [4, 4, 4], [1, 1, 1], (0.5,) * 3, None)
    patch = reader.read("a")
    assert patch.image.shape == (1, 4, 4, 4) and patch.inside.sum() == 2 * 4 * 4
    assert patch.image.sum() == patch.inside.sum()


def test_reader_takes_one_slice_for_a_2d_patch():
    image = np.arange(5, dtype=float)[None, :, None, None] * np.ones((1, 5, 8, 8))
    patch = PatchReader(Dataset({"a": image}), [4, 4], [1, 1], (0.7, 0.5, 0.5), None).read("a")
    assert patch.image.shape == (1, 4, 4) and (patch.image == 3).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_patch_lies_in_its_whole_slice_where_its_box_says(axis):
    image = np.random.default_rng(0).normal(size=(1, 6, 9, 8)).astype(np.float32)
    reader = PatchReader(Dataset({"a": image}), [4, 4, 4], [1, 1, 1], (0.9, 0.4, 0.6), None)
    patch = reader.read("a")
    whole = reader.whole_slices(patch, axis, [2])[2]
    assert whole.shape == tuple(size for i, size in enumerate((6, 9, 8)) if i != axis)
    rows, columns = (slice(*bounds) for i, bounds in enumerate(patch.box) if i != axis)
    np.testing.assert_array_equal(whole[rows, columns], patch.image[0].take(2, axis))


def test_whole_slices_of_2d_patches_and_beside_a_small_image():
    image = np.arange(5, dtype=np.float32)[None, :, None, None] * np.ones((1, 5, 8, 8), np.float32)
    flat = PatchReader(Dataset({"a": image}), [4, 4], [1, 1], (0.7, 0.5, 0.5), None)
    assert (flat.whole_slices(flat.read("a"), None, [None])[None] == np.full((8, 8), 3)).all()
    deep = PatchReader(Dataset({"a": image}), [7, 4, 4], [1, 1, 1], (0.5,) * 3, None)
    patch = deep.read("a")
    found = deep.whole_slices(patch, 0, range(7))
    assert [found[index][0, 0] for index in range(7)] == [0, 0, 1, 2, 3, 4, 4]


def test_usual_centre_is_the_mean_over_classes_and_ignores_the_key_of_annotated_voxels():
    locations = {
        1: np.array([[0, 2, 2, 2]]),
        2: np.array([[0, 6, 2, 2], [0, 6, 4, 4]]),
        3: [],
        (-1, 0, 1): np.zeros((5, 4)),
    }
    centre = usual_foreground_centre(Dataset({"a": np.zeros((1, 8, 8, 8))}, locations))
    assert centre == pytest.approx((0.5, 2.5 / 8, 2.5 / 8))
    assert usual_foreground_centre(Dataset({"a": np.zeros((1, 8, 8, 8))})) == (0.5, 0.5, 0.5)


# ---------------------------------------------------------------- what is measured


def test_values_by_hand():
    values = measure_patch(make_patch(), predicted([[0, 1], [0, 0]], raw=[[0, 1], [1, 0]], m=False), 2)
    assert values["pseudo_dice_raw"] == 1
    assert values["pseudo_dice"] == pytest.approx(2 / 3)
    assert values["monitor_changed"] == 0.25
    assert values["monitor_foreground"] == 0.25
    assert values["monitor_confidence"] == pytest.approx(0.9)
    assert math.isnan(values["pseudo_dice_map"])


def test_ignored_voxels_and_padding_do_not_count():
    patch = make_patch()
    ignored = dataclasses.replace(patch, truth=np.array([[0, 1], [2, 0]]))
    padded = dataclasses.replace(patch, inside=np.array([[True, True], [False, True]]))
    for kept in (ignored, padded):
        assert measure_patch(kept, predicted([[0, 1], [0, 0]]), 2)["pseudo_dice"] == 1
    assert measure_patch(padded, predicted([[0, 1], [1, 0]]), 2)["monitor_foreground"] == pytest.approx(1 / 3)


def test_without_hidden_label_there_is_no_dice():
    values = measure_patch(make_patch(truth=False), predicted([[0, 1], [1, 0]]), 2)
    assert all(math.isnan(values[key]) for key in values if "dice" in key)


def test_one_case_that_cannot_be_read_is_named_once_and_stops_no_other(tmp_path):
    monitor, lines = make_monitor(tmp_path, cases=3, monitor_cases=3)

    def read(case):
        if case == "case_1":
            raise OSError("damaged")
        return make_patch()

    monitor._reader.read = read
    for epoch in range(2):
        assert monitor.after_epoch(epoch, last=False, rectifying=True)["pseudo_dice"] == 1
    monitor.after_training(1, rectifying=True)
    assert list(json.loads((tmp_path / QUALITY_FILE).read_text())["cases"]) == ["case_0", "case_2"]
    assert [line for line in lines if "WARNING" in line] == [
        "WARNING: case_1 is not monitored (OSError: damaged). All other cases are."
    ]


# ---------------------------------------------------------------- when


def test_fixed_cases_follow_from_the_seed_and_draw_from_no_global_generator(tmp_path):
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (make_monitor(tmp_path)[0] for _ in range(2))
    first.after_epoch(0, False, True)
    assert first.fixed_cases == second.fixed_cases and len(set(first.fixed_cases)) == 4
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


def test_values_come_when_due_and_nan_otherwise(tmp_path):
    monitor, _ = make_monitor(tmp_path, monitor_every=3)
    measured = [not math.isnan(monitor.after_epoch(e, e == 6, True)["pseudo_dice"]) for e in range(7)]
    assert measured == [False, False, True, False, False, True, True]
    assert set(monitor.after_epoch(0, False, True)) == set(MONITORED)


def test_switched_off_it_never_looks(tmp_path):
    def teacher(*_, **__):
        raise AssertionError("looked")

    monitor, lines = make_monitor(tmp_path, teacher, monitor_every=0, quality_cases=0)
    monitor.after_epoch(0, True, True)
    monitor.after_training(0, True)
    assert lines == [] and list(tmp_path.iterdir()) == []


def test_an_error_ends_the_monitoring_and_not_the_training(tmp_path):
    def teacher(*_, **__):
        raise RuntimeError("out of memory")

    monitor, lines = make_monitor(tmp_path, teacher)
    for epoch in range(2):
        assert all(math.isnan(value) for value in monitor.after_epoch(epoch, False, True).values())
    assert lines == ["WARNING: monitoring stops, training continues (RuntimeError: out of memory)"]


def test_overlays_and_quality_are_written(tmp_path):
    monitor, lines = make_monitor(tmp_path, cases=5, overlay_every=2, monitor_cases=1, quality_cases=3)
    monitor.after_epoch(1, False, True)
    monitor.after_training(1, True)
    assert [path.name for path in (tmp_path / monitoring.OVERLAY_FOLDER).iterdir()] == ["epoch_0001_case.png"]
    quality = (tmp_path / monitoring.QUALITY_FILE).read_text(encoding="utf-8")
    assert '"num_unlabelled": 5' in quality and quality.count("expected_dice") == 3 and len(lines) == 1


@pytest.mark.parametrize(("others_wait", "ranked"), [(True, 3), (False, 9)])
def test_the_ranking_ends_before_other_processes_have_waited_too_long(tmp_path, monkeypatch, others_wait, ranked):
    clock = iter(range(0, 10_000, 90))
    monkeypatch.setattr(monitoring.time, "monotonic", lambda: next(clock))
    monitor, lines = make_monitor(tmp_path, cases=9)
    monitor.after_training(1, True, others_wait)
    cases = list(json.loads((tmp_path / QUALITY_FILE).read_text())["cases"])
    assert len(cases) == ranked and cases == sorted(cases)
    assert (lines[0] == "CRLN: 300 s are over; 6 unlabelled cases are not ranked.") == others_wait


def test_the_least_confident_cases_come_first_and_before_them_those_where_nothing_was_found(tmp_path):
    confidence = {"case_0": 0.9, "case_1": math.nan, "case_2": 0.2, "case_3": 0.5}
    monitor, _ = make_monitor(tmp_path, cases=4)
    monitor._reader.read = lambda case: dataclasses.replace(make_patch(), case=case)
    monitor._quality = lambda patch, rectifying: {"expected_dice": confidence[patch.case]}
    monitor.after_training(1, rectifying=True)
    cases = json.loads((tmp_path / QUALITY_FILE).read_text())["cases"]
    assert [values["expected_dice"] for values in cases.values()] == [None, 0.2, 0.5, 0.9]
    assert list(cases) == ["case_1", "case_2", "case_3", "case_0"]


def test_curves_are_not_drawn_again_before_the_last_drawing_has_paid_off(tmp_path, monkeypatch):
    drawn = []
    clock = iter([0.0, 1.0, 50.0, 101.0, 102.0, 110.0, 111.0])
    monkeypatch.setattr(share_of_time.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(monitoring, "save_progress_png", lambda logging, folder: drawn.append(logging))
    monitor, _ = make_monitor(tmp_path)
    for epoch, last in enumerate([False, False, False, True]):
        monitor.draw_curves({"epoch": epoch}, last)
    assert [log["epoch"] for log in drawn] == [0, 2, 3]
