"""Class thresholds against a loop over classes and voxels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunetv2_crln.training.method import class_thresholds as module
from nnunetv2_crln.training.method.class_thresholds import MEMORY, ClassThresholds


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), steps=st.integers(1, 4), num_classes=st.integers(2, 7))
def test_thresholds_follow_the_mean_confidence_of_each_class(seed, steps, num_classes):
    generator = torch.Generator().manual_seed(seed)
    thresholds = ClassThresholds(num_classes, 0.8)
    expected = np.ones(num_classes)
    for _ in range(steps):
        labels = torch.randint(0, num_classes, (2, 3, 3), generator=generator)
        confidence = torch.rand(2, 3, 3, generator=generator)
        thresholds.update(labels, confidence)
        for c in range(num_classes):
            of_class = confidence[labels == c]
            if len(of_class):
                expected[c] = MEMORY * expected[c] + (1 - MEMORY) * of_class.mean().item()
    np.testing.assert_allclose(thresholds().numpy(), 0.8 * expected / expected.max(), rtol=1e-5)


def test_at_the_start_all_classes_have_the_same_threshold():
    assert ClassThresholds(6, 0.7)().tolist() == pytest.approx([0.7] * 6)


def test_the_surest_class_keeps_the_threshold_and_no_other_exceeds_it():
    thresholds = ClassThresholds(3, 0.9)
    for _ in range(300):
        thresholds.update(torch.tensor([[0, 1, 1]]), torch.tensor([[0.9, 0.6, 0.6]]))
    surest, doubtful, unseen = thresholds().tolist()
    assert unseen == pytest.approx(0.9)  # nothing is known of it
    assert doubtful < surest < 0.9


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_confidence_that_is_not_finite_changes_nothing(bad):
    thresholds = ClassThresholds(2, 0.9)
    thresholds.update(torch.tensor([[0, 1]]), torch.tensor([[0.9, 0.6]]))
    before = thresholds.confidence.clone()
    thresholds.update(torch.tensor([[0, 0, 1]]), torch.tensor([[bad, 0.9, bad]]))
    assert torch.equal(thresholds.confidence, before)


def test_the_processes_of_a_distributed_training_have_the_same_thresholds(monkeypatch):
    """Each sees other patches; the sum over both must be what one process with all of them would see."""
    labels, confidence = torch.randint(0, 3, (2, 50)), torch.rand(2, 50)
    alone = ClassThresholds(3, 0.9)
    alone.update(labels, confidence)
    statistics = []
    monkeypatch.setattr(module, "sum_over_processes", lambda values: statistics.append(values.clone()) or values)
    for rank in range(2):
        ClassThresholds(3, 0.9).update(labels[rank], confidence[rank])
    monkeypatch.setattr(module, "sum_over_processes", lambda values: sum(statistics))
    together = ClassThresholds(3, 0.9)
    together.update(labels[0], confidence[0])
    torch.testing.assert_close(together.confidence, alone.confidence)


def test_the_mean_over_millions_of_voxels_is_that_of_double_precision():
    """Added one by one in single precision, the mean of this class would be 5 % too large."""
    generator = torch.Generator().manual_seed(0)
    confidence = 0.8 + 0.2 * torch.rand(2, 160, 160, 160, generator=generator)
    thresholds = ClassThresholds(2, 0.9)
    thresholds.update(torch.zeros(confidence.shape, dtype=torch.long), confidence)
    expected = 1 - (1 - MEMORY) * (1 - confidence.double().mean().item())
    assert thresholds.confidence[0].item() == pytest.approx(expected, abs=1e-6)
