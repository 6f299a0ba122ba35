"""Cooperative Positive Supervision against slow loops over anchors, positives and negatives."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunetv2_crln.losses import cooperative_positive_supervision as cps
from nnunetv2_crln.losses.class_samples import ClassSamples, sample_per_class
from nnunetv2_crln.losses.cooperative_positive_supervision import (
    cooperative_positive_supervision,
    draw_negatives,
    info_nce,
    positives,
)


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


# ------------------------------------------------------------------ positives


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0, 2.5])
def test_positive_is_equation_13(weight):
    means, prototypes = torch.randn(3, 4), torch.randn(3, 5, 4)
    expected = [
        (unit(mean) + weight * unit(sum(group) / len(group))) / (1 + weight)
        for mean, group in zip(means.numpy(), prototypes.numpy(), strict=True)
    ]
    np.testing.assert_allclose(positives(means, prototypes, weight).numpy(), expected, rtol=1e-5)


def test_positive_before_rectification_is_the_class_mean():
    means = torch.randn(3, 4)
    expected = [unit(mean) for mean in means.numpy()]
    np.testing.assert_allclose(positives(means, None, 0.6).numpy(), expected, rtol=1e-5)


def test_limits_of_the_prototype_weight_are_mean_and_prototype_alone():
    means, prototypes = torch.randn(3, 4), torch.randn(3, 5, 4)
    torch.testing.assert_close(positives(means, prototypes, 0.0), positives(means, None, 0.6))
    torch.testing.assert_close(positives(means, prototypes, 1e6), positives(prototypes.mean(1), None, 0.6))


def test_positive_has_no_gradient():
    means, prototypes = torch.randn(3, 4, requires_grad=True), torch.randn(3, 5, 4, requires_grad=True)
    assert not positives(means, prototypes, 0.6).requires_grad


# ------------------------------------------------------------------ negatives


def pool_of(counts: list[int], size: int) -> ClassSamples:
    valid = torch.arange(size) < torch.tensor(counts)[:, None]
    return ClassSamples(torch.arange(len(counts) * size).reshape(len(counts), size), valid)


@settings(max_examples=100)
@given(
    seed=st.integers(0, 10_000),
    counts=st.lists(st.integers(0, 6), min_size=1, max_size=5),
    temperature=st.sampled_from([0.02, 0.5, 5.0]),
)
def test_negatives_are_valid_and_never_of_the_own_class(seed, counts, temperature):
    torch.manual_seed(seed)
    index, has_negatives = draw_negatives(pool_of(counts, 6), torch.randn(len(counts), 4), 50, temperature)
    assert index.shape == (len(counts), 50)
    assert index.min() >= 0 and index.max() < 6 * len(counts)
    for own, drawn in enumerate(index.numpy()):
        others = [c for c, count in enumerate(counts) if count and c != own]
        assert has_negatives[own].item() == bool(others)
        if others:
            assert set(drawn // 6) <= set(others)
            assert all(position < counts[label] for label, position in zip(drawn // 6, drawn % 6, strict=True))


def test_classes_of_negatives_follow_the_softmax_of_similarities():
    means = torch.randn(4, 3)
    index, _ = draw_negatives(pool_of([3, 5, 2, 4], 5), means, 20_000, 0.5)
    for own in range(4):
        others = [c for c in range(4) if c != own]
        scores = np.exp([unit(means[own].numpy()) @ unit(means[c].numpy()) / 0.5 for c in others])
        drawn = index[own].numpy() // 5
        frequency = [np.mean(drawn == c) for c in others]
        assert frequency == pytest.approx(scores / scores.sum(), abs=0.02)


@pytest.mark.parametrize("size", [5, 8])
def test_voxels_of_a_class_are_equally_likely_negatives(size):
    index, _ = draw_negatives(pool_of([1, 5], size), torch.randn(2, 3), 20_000, 0.5)
    frequency = np.bincount(index[0].numpy(), minlength=2 * size) / 20_000
    assert frequency[size : size + 5] == pytest.approx(np.full(5, 0.2), abs=0.02)


# ------------------------------------------------------------------ InfoNCE


def slow_info_nce(anchor: np.ndarray, positive: np.ndarray, negatives: np.ndarray, temperature: float) -> float:
    to_positive = np.exp(unit(anchor) @ unit(positive) / temperature)
    to_negatives = sum(np.exp(unit(anchor) @ unit(n) / temperature) for n in negatives)
    return -np.log(to_positive / (to_positive + to_negatives))


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_info_nce_is_minus_log_of_the_positives_share(temperature):
    anchors, positive, negatives = (torch.randn(s, dtype=torch.float64) for s in [(3, 4, 5), (3, 5), (3, 6, 5)])
    loss = info_nce(anchors, positive, negatives, temperature)
    expected = [
        [slow_info_nce(a, positive[c].numpy(), negatives[c].numpy(), temperature) for a in anchors[c].numpy()]
        for c in range(3)
    ]
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-9)


def test_info_nce_does_not_overflow_at_a_low_temperature():
    anchors = torch.tensor([[[1.0, 0.0]]], requires_grad=True)
    loss = info_nce(anchors, torch.tensor([[-1.0, 0.0]]), torch.tensor([[[1.0, 0.0]]]), 1e-3)
    loss.sum().backward()
    assert loss.item() == pytest.approx(2000)
    assert torch.isfinite(anchors.grad).all()


# ------------------------------------------------------------------ the whole loss


def slow_loss(representations, anchors, pool, negatives, num_classes, prototypes, weight, temperature) -> float:
    """Eq. 9-14 for the given voxels: anchors and pool are lists of voxels per class, negatives likewise."""
    per_class = []
    for label in range(num_classes):
        if not anchors[label] or not any(pool[other] for other in range(num_classes) if other != label):
            continue
        positive = unit(np.mean([representations[v] for v in pool[label]], axis=0))
        if prototypes is not None:
            positive = (positive + weight * unit(prototypes[label].mean(0))) / (1 + weight)
        chosen = [representations[v] for v in negatives[label]]
        losses = [slow_info_nce(representations[v], positive, chosen, temperature) for v in anchors[label]]
        per_class.append(np.mean(losses))
    return float(np.mean(per_class)) if per_class else 0.0


def record_draws(monkeypatch: pytest.MonkeyPatch) -> tuple[list[ClassSamples], list[torch.Tensor]]:
    """Let the loss draw as always and keep what it drew."""
    samples, negatives = [], []

    def sample(*args):
        samples.append(sample_per_class(*args))
        return samples[-1]

    def draw(*args):
        index, has_negatives = draw_negatives(*args)
        negatives.append(index)
        return index, has_negatives

    monkeypatch.setattr(cps, "sample_per_class", sample)
    monkeypatch.setattr(cps, "draw_negatives", draw)
    return samples, negatives


@pytest.mark.parametrize("with_prototypes", [True, False])
@pytest.mark.parametrize("present", [(0, 1, 2, 3), (0, 2, 3), (1, 3), (3,)])
def test_whole_loss_equals_the_slow_one_for_the_same_draws(monkeypatch, present, with_prototypes):
    """Also with classes that are absent: the others keep their prototypes and their share of the mean."""
    samples, drawn_negatives = record_draws(monkeypatch)
    labels = torch.tensor(present)[torch.randint(0, len(present), (90,))]
    valid, uncertain = torch.rand(90) < 0.7, torch.rand(90) < 0.4
    representations = torch.randn(90, 5)
    prototypes = torch.randn(4, 3, 5) if with_prototypes else None
    loss = cooperative_positive_supervision(
        lambda voxels: representations[voxels], labels, valid, uncertain, 4, prototypes, 0.6, 12, 16, 0.5
    )
    anchors, pool = ([s.voxels[c][s.valid[c]].tolist() for c in range(4)] for s in samples)
    for label in range(4):
        assert all(valid[v] and uncertain[v] and labels[v] == label for v in anchors[label])
        assert all(valid[v] and labels[v] == label for v in pool[label])
    negatives = samples[1].voxels.flatten()[drawn_negatives[0]].tolist()
    expected = slow_loss(
        representations.double().numpy(),
        anchors,
        pool,
        negatives,
        4,
        prototypes.double().numpy() if with_prototypes else None,
        0.6,
        0.5,
    )
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert (loss.item() == 0) == (len(present) == 1)


def loss_and_gradient(labels, valid, uncertain, prototypes=None) -> tuple[float, torch.Tensor]:
    representations = torch.randn(len(labels), 5, requires_grad=True)
    loss = cooperative_positive_supervision(
        lambda voxels: representations[voxels], labels, valid, uncertain, 3, prototypes, 0.6, 8, 8
    )
    loss.backward()
    return loss.item(), representations.grad


yes, no = torch.ones(40, dtype=torch.bool), torch.zeros(40, dtype=torch.bool)


@pytest.mark.parametrize(
    ("labels", "valid", "uncertain"),
    [
        (torch.ones(40, dtype=torch.long), yes, yes),
        (torch.arange(40) % 3, no, yes),
        (torch.arange(40) % 3, yes, no),
    ],
    ids=["a single class", "no valid voxel", "no uncertain voxel"],
)
def test_nothing_to_compare_gives_zero_and_a_gradient_of_zeros(labels, valid, uncertain):
    loss, gradient = loss_and_gradient(labels, valid, uncertain)
    assert loss == 0
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_gradients_reach_valid_voxels_alone_and_no_prototype():
    prototypes = torch.randn(3, 4, 5, requires_grad=True)
    labels, valid = torch.arange(40) % 3, torch.arange(40) < 20
    loss, gradient = loss_and_gradient(labels, valid, yes, prototypes)
    assert loss > 0
    assert prototypes.grad is None
    assert gradient[:20].abs().sum() > 0 and torch.isfinite(gradient).all()
    assert torch.equal(gradient[20:], torch.zeros(20, 5))


def test_labels_of_voxels_that_are_not_valid_have_no_influence():
    labels = torch.arange(40) % 3
    valid = torch.arange(40) < 20
    other = torch.where(valid, labels, 0)
    torch.manual_seed(1)
    expected = loss_and_gradient(labels, valid, yes)
    torch.manual_seed(1)
    loss, gradient = loss_and_gradient(other, valid, yes)
    assert loss == expected[0]
    assert torch.equal(gradient, expected[1])


def test_two_hundred_classes_are_told_apart(monkeypatch):
    """Labels are compared in a small integer type."""
    samples, _ = record_draws(monkeypatch)
    labels, everything = torch.arange(200).repeat(3), torch.ones(600, dtype=torch.bool)
    cooperative_positive_supervision(
        lambda voxels: torch.randn(len(voxels), 4), labels, everything, everything, 200, None, 0.6, 3, 3
    )
    for drawn in samples:
        assert drawn.valid.all() and torch.equal(labels[drawn.voxels], torch.arange(200)[:, None].expand(-1, 3))


def test_can_separate_three_classes():
    """The loss alone makes representations of a class alike and those of different classes unlike."""
    labels = torch.arange(60) % 3
    representations = torch.randn(60, 5, requires_grad=True)
    optimiser = torch.optim.Adam([representations], 0.05)
    everything = torch.ones(60, dtype=torch.bool)
    for _ in range(150):
        optimiser.zero_grad()
        cooperative_positive_supervision(
            lambda voxels: representations[voxels], labels, everything, everything, 3, None, 0.6, 20, 20
        ).backward()
        optimiser.step()
    direction = torch.nn.functional.normalize(representations.detach(), dim=1)
    same = labels[:, None] == labels
    similarity = direction @ direction.T
    assert similarity[same].min() > similarity[~same].max()
