"""Pseudo labels of whole cases against hidden labels: voxels are counted over all cases, by class and together."""

import numpy as np
import pytest
import SimpleITK as sitk
from beds import Case
from pseudo_label_errors import FOREGROUND, count, rows

LABELS = {"background": 0, "left": 1, "right": 2, "ignore": 3}


@pytest.fixture
def cases(tmp_path):
    truths = {"a": [[0, 1, 1, 1, 2, 2]], "b": [[0, 0, 0, 1, 2, 0]]}
    for name, truth in truths.items():
        sitk.WriteImage(sitk.GetImageFromArray(np.array([truth], dtype=np.uint8)), str(tmp_path / f"{name}.nii.gz"))
    return [Case(name, name, (tmp_path / name,), tmp_path / f"{name}.nii.gz") for name in truths]


def segment(images):
    return np.array([[{"a": [0, 1, 1, 0, 1, 2], "b": [0, 0, 2, 2, 2, 0]}[images[0].name]]])


def test_voxels_are_counted_over_all_cases(cases):
    counts = count(segment, cases, LABELS)
    assert counts["left"] == {"found": 3, "true": 4, "both": 2}
    assert counts["right"] == {"found": 4, "true": 3, "both": 2}
    # Confused classes are both foreground.
    assert counts[FOREGROUND] == {"found": 7, "true": 7, "both": 6}
    assert list(count(segment, cases, {"background": 0, "left": 1})) == ["left"]


def test_a_row_shows_size_precision_recall_and_dice():
    counts = {"left": {"found": 3, "true": 4, "both": 2}, "absent": {"found": 0, "true": 0, "both": 0}}
    assert rows("teacher", counts) == [
        "| teacher | left | 0.75 | 0.67 | 0.50 | 57.1 |",
        "| teacher | absent | nan | nan | nan | nan |",
    ]
