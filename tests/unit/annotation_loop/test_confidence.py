"""Expected Dice, volume and confidence from probabilities."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nnunetv2_crln.annotation_loop.confidence import structure_confidences, voxel_confidence

CLASSES = SimpleNamespace(
    has_regions=False, foreground_labels=[1, 2], apply_inference_nonlin=lambda logits: torch.softmax(logits, 0)
)
REGIONS = SimpleNamespace(has_regions=True, apply_inference_nonlin=torch.sigmoid)


def prediction(logits):
    return SimpleNamespace(logits=logits, voxel_ml=0.5)


def test_a_certain_model_expects_a_dice_of_one():
    logits = torch.full((3, 4, 4, 4), -30.0)
    logits[0] = 30
    logits[0, 0, 0], logits[1, 0, 0] = -30, 30
    found = structure_confidences(prediction(logits), ["a", "b"], CLASSES)
    assert found["a"].expected_dice == pytest.approx(1)
    assert found["a"].volume_ml == 2  # four voxels
    assert np.isnan(found["b"].expected_dice) and found["b"].volume_ml == 0


def test_regions_may_overlap():
    logits = torch.full((2, 4, 4, 4), -30.0)
    logits[0, :2] = 30
    logits[1, :1] = 30
    found = structure_confidences(prediction(logits), ["whole", "core"], REGIONS)
    assert (found["whole"].volume_ml, found["core"].volume_ml) == (16, 8)


def test_doubt_lowers_the_expected_dice():
    sure, unsure = torch.zeros(3, 4, 4, 4), torch.zeros(3, 4, 4, 4)
    sure[1, :2], unsure[1, :2] = 9, 1
    one, other = (structure_confidences(prediction(logits), ["a", "b"], CLASSES)["a"] for logits in (sure, unsure))
    assert one.expected_dice > other.expected_dice


def test_a_voxel_is_as_sure_as_its_least_sure_region():
    probabilities = np.array([[0.99, 0.4], [0.2, 0.01]])
    np.testing.assert_allclose(voxel_confidence(probabilities, has_regions=True), [0.8, 0.6])
    np.testing.assert_allclose(voxel_confidence(probabilities, has_regions=False), [0.99, 0.4])
