"""Confidence and quality of pseudo labels, with values by hand."""

import math

import numpy as np
import pytest

from nnunetv2_crln.evaluation.pseudo_labels import confidence_summary, expected_dice, mean_dice


def binary(foreground: list[float]) -> np.ndarray:
    p = np.array(foreground)
    return np.stack([1 - p, p])


def test_expected_dice_by_hand():
    # Predicted: voxels 0 and 1. Hits 0.9 + 0.7; existing 0.9 + 0.7 + 0.2.
    p = binary([0.9, 0.7, 0.2, 0.0])
    assert expected_dice(p, np.ones(4, bool)) == pytest.approx(2 * 1.6 / (2 + 1.8))


def test_a_certain_prediction_expects_one_and_a_missed_object_expects_zero():
    assert expected_dice(binary([1.0, 0.0]), np.ones(2, bool)) == 1
    assert expected_dice(binary([0.4] * 10), np.ones(10, bool)) == 0


def test_nothing_found_and_nothing_expected_is_undefined():
    assert math.isnan(expected_dice(binary([0.001] * 10), np.ones(10, bool)))


def test_padding_does_not_count():
    assert expected_dice(binary([1.0, 0.6]), np.array([True, False])) == 1


def test_confidence_summary_by_hand():
    result = confidence_summary(binary([0.9, 0.7, 0.2, 0.0]), np.ones(4, bool), threshold=0.85)
    assert result["foreground_confidence"] == pytest.approx(0.8)
    assert result["unsure_share"] == 0.5
    assert result["foreground_share"] == 0.5


def test_confidence_summary_without_foreground():
    assert math.isnan(confidence_summary(binary([0.0, 0.0]), np.ones(2, bool), 0.9)["foreground_confidence"])


def test_mean_dice_leaves_out_absent_classes_and_unknown_voxels():
    labels, truth = np.array([1, 1, 0, 2]), np.array([1, 0, 0, 9])
    known = truth < 4
    assert mean_dice(labels, truth, 4, known) == pytest.approx(2 / 3)
    assert math.isnan(mean_dice(np.zeros(3), np.zeros(3), 2, np.ones(3, bool)))
