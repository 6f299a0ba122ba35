"""Groups of unlabelled cases during a training: which are monitored, their curves, their distance."""

import json
import math
from types import SimpleNamespace

import numpy as np

from nnunetv2_crln.layout import DOMAIN_FILE, GROUP_CURVES_FILE
from nnunetv2_crln.reporting.section_groups import draw_group_curves
from nnunetv2_crln.training.monitoring.groups import Groups

TRANSPOSED = [2, 0, 1]
BLOCK = {"crln": {"unlabelled_groups": {"A": "a_*", "B": "b_*"}}}


class Cases:
    def __init__(self, names, spacing=1.0):
        self.identifiers, self.spacing = names, spacing

    def load_case(self, name):
        rng = np.random.default_rng(sum(map(ord, name)))
        spacing = [self.spacing, self.spacing, 4.0 if name.startswith("b") else self.spacing]
        properties = {"spacing": spacing, "shape_after_cropping_and_before_resampling": [9, 9, 9]}
        return rng.normal(size=(1, 9, 9, 9)), np.zeros((1, 9, 9, 9)), None, properties


def groups(folder, block=BLOCK):
    unlabelled = Cases([f"{site}_{i}" for site in "ab" for i in range(4)])
    return Groups(block, unlabelled, Cases([f"l_{i}" for i in range(4)]), folder, TRANSPOSED)


def test_every_group_is_monitored(tmp_path):
    assert groups(tmp_path).with_monitored(["a_2"]) == ["a_0", "a_2", "b_0", "b_1"]
    assert groups(tmp_path).with_monitored(["a_0", "a_1", "a_2", "b_0", "b_3"]) == ["a_0", "a_1", "a_2", "b_0", "b_3"]
    assert groups(tmp_path, {}).with_monitored(["a_2"]) == ["a_2"]


def test_a_group_whose_cases_are_not_preprocessed_does_not_end_the_training(tmp_path):
    block = {"crln": {"unlabelled_groups": {"A": "a_*", "C": "c_*"}}}
    found = groups(tmp_path, block)
    assert list(found.cases) == ["A", "other cases"] and found.without_cases == ["C"]
    assert groups(tmp_path).without_cases == groups(tmp_path, {}).without_cases == []


def test_each_group_has_its_own_curve_and_a_continued_training_goes_on(tmp_path):
    def measured(a, b):
        return {case: {"pseudo_dice": value} for case, value in {"a_0": a, "a_1": math.nan, "b_0": b}.items()}

    first = groups(tmp_path)
    for epoch in range(3):
        first.record(epoch, measured(epoch / 10, math.nan))
    groups(tmp_path).record(2, measured(0.9, 0.5))
    curves = json.loads((tmp_path / GROUP_CURVES_FILE).read_text(encoding="utf-8"))["groups"]
    assert curves == {"A": {"pseudo_dice": [[0, 0], [1, 0.1], [2, 0.9]]}, "B": {"pseudo_dice": [[2, 0.5]]}}
    (axes,) = draw_group_curves(curves).axes
    assert [line.get_label() for line in axes.lines] == ["A", "B"]
    assert axes.lines[0].get_ydata().tolist() == [0, 0.1, 0.9]


def test_without_groups_no_file_is_written(tmp_path):
    groups(tmp_path, {}).record(0, {"a_0": {"pseudo_dice": 1.0}})
    assert not (tmp_path / GROUP_CURVES_FILE).exists()


def test_the_far_group_alone_is_reported(tmp_path):
    (text,) = groups(tmp_path).compare_with_labelled()
    assert text.startswith("B (4 cases) is far from the labelled cases: ")
    assert "spacing of axis 0 in mm 4, labelled 1" in text
    written = json.loads((tmp_path / DOMAIN_FILE).read_text(encoding="utf-8"))["groups"]
    assert [(entry["group"], entry["far"]) for entry in written] == [("A", False), ("B", True)]


def test_without_groups_all_unlabelled_cases_are_one(tmp_path):
    same = Cases([f"u_{i}" for i in range(4)])
    assert Groups({}, same, Cases([f"l_{i}" for i in range(4)]), tmp_path, TRANSPOSED).compare_with_labelled() == []
    only_labelled = SimpleNamespace(identifiers=["l_0"])
    assert Groups({}, only_labelled, Cases(["l_0"]), tmp_path, TRANSPOSED).compare_with_labelled() == []


def test_few_cases_are_compared_while_other_processes_wait(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(Cases, "load_case", lambda self, name: read.append(name) or original(self, name))
    many = Cases([f"{site}_{i:03d}" for site in "ab" for i in range(100)])
    compared = Groups(BLOCK, many, Cases([f"l_{i:03d}" for i in range(100)]), tmp_path, TRANSPOSED)
    compared.compare_with_labelled()
    assert len(read) == 3 * 100
    read.clear()
    compared.compare_with_labelled(others_wait=True)
    assert len(read) == 3 * 20


original = Cases.load_case
