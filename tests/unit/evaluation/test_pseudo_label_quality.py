"""Confidence and quality of pseudo labels, with values by hand."""

import math

import numpy as np
import pytest

from nnunetv2_crln.evaluation.pseudo_label_quality import confidence_summary, expected_dice, mean_dice


def binary(foreground: list[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, confidence and volumes of voxels with this probability of the only foreground class."""
    p = np.stack([1 - np.array(foreground), foreground])
    return p.argmax(0), p.max(0), p.sum(1)


def test_expected_dice_by_hand():
    # Predicted: voxels 0 and 1. Hits 0.9 + 0.7; existing 0.9 + 0.7 + 0.2.
    assert expected_dice(*binary([0.9, 0.7, 0.2, 0.0])) == pytest.approx(2 * 1.6 / (2 + 1.8))


def test_expected_dice_of_many_classes_is_the_mean_over_those_that_count():
    p = np.random.default_rng(0).dirichlet(np.full(9, 0.3), 400).T
    p[5] = 0.001  # never predicted, and expected in less than one voxel
    labels = p.argmax(0)
    scores = [
        2 * p[c, labels == c].sum() / ((labels == c).sum() + p[c].sum()) for c in range(1, 9) if (labels == c).any()
    ]
    assert len(scores) == 7
    assert expected_dice(labels.astype(np.int16), p.max(0), p.sum(1)) == pytest.approx(np.mean(scores))


def test_a_certain_prediction_expects_one_and_a_missed_object_expects_zero():
    assert expected_dice(*binary([1.0, 0.0])) == 1
    assert expected_dice(*binary([0.4] * 10)) == 0


def test_nothing_found_and_nothing_expected_is_undefined():
    assert math.isnan(expected_dice(*binary([0.001] * 10)))


def test_confidence_summary_by_hand():
    result = confidence_summary(*binary([0.9, 0.7, 0.2, 0.0]), threshold=0.8)
    assert result["foreground_confidence"] == pytest.approx(0.8)
    assert result["unsure_share"] == 0.25  # 0.7 alone: what reaches the threshold is sure
    assert result["foreground_share"] == 0.5


def test_confidence_summary_without_foreground():
    assert math.isnan(confidence_summary(*binary([0.0, 0.0]), 0.9)["foreground_confidence"])


def test_mean_dice_leaves_out_absent_classes():
    assert mean_dice(np.array([1, 1, 0, 2]), np.array([1, 0, 0, 0]), 4) == pytest.approx((2 / 3 + 0) / 2)
    assert mean_dice(np.array([1, 1, 0], np.int16), np.array([1, 0, 0], np.int16), 9) == pytest.approx(2 / 3)
    assert math.isnan(mean_dice(np.zeros(3, int), np.zeros(3, int), 2))
    assert math.isnan(mean_dice(np.zeros(0, int), np.zeros(0, int), 2))


@pytest.mark.parametrize(("each", "expected"), [(0.12, 0.0), (0.08, math.nan)])
def test_an_object_counts_from_one_expected_voxel_on(each, expected):
    assert expected_dice(*binary([each] * 10)) == pytest.approx(expected, nan_ok=True)
