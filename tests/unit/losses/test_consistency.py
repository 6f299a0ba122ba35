"""Consistency losses against loops over voxels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunetv2_crln.losses.consistency import consistency_dice_loss, consistency_loss


def random_case(seed: int, classes: int, grid: tuple[int, ...], batch: int = 2):
    """Logits, pseudo labels and confidences that lie exactly on the threshold 0.75 now and then."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(batch, classes, *grid, dtype=torch.float64, generator=generator)
    labels = torch.randint(0, classes, (batch, *grid), generator=generator)
    confidence = torch.tensor([0.5, 0.75, 0.9])[torch.randint(0, 3, (batch, *grid), generator=generator)]
    return logits, labels, confidence


def voxels_of(logits: torch.Tensor, labels: torch.Tensor, confidence: torch.Tensor):
    """Probabilities, label and confidence of one voxel after the other."""
    for b, *voxel in np.ndindex(*labels.shape):
        logit = logits.detach().numpy()[(b, slice(None), *voxel)]
        share = np.exp(logit - logit.max())
        yield share / share.sum(), int(labels[(b, *voxel)]), float(confidence[(b, *voxel)])


def naive_dice_loss(logits, labels, confidence, threshold) -> float:
    confident = [(p, label) for p, label, c in voxels_of(logits, labels, confidence) if c >= threshold]
    losses = []
    for label in range(1, logits.shape[1]):
        volume = sum(y == label for _, y in confident)
        if volume:
            overlap = sum(p[label] for p, y in confident if y == label)
            losses.append(1 - (2 * overlap + 1e-5) / (sum(p[label] for p, _ in confident) + volume + 1e-5))
    return float(np.mean(losses)) if losses else 0.0


cases = {
    "seed": st.integers(0, 10_000),
    "classes": st.integers(2, 5),
    "grid": st.integers(2, 3).flatmap(lambda ndim: st.tuples(*[st.integers(1, 4)] * ndim)),
    "threshold": st.sampled_from([0.0, 0.75, 0.8, 1.0]),
}


@settings(max_examples=40)
@given(**cases)
def test_consistency_is_equation_2(seed, classes, grid, threshold):
    logits, labels, confidence = random_case(seed, classes, grid)
    loss = consistency_loss(logits, labels, confidence, threshold)
    terms = [-np.log(p[y]) if c >= threshold else 0 for p, y, c in voxels_of(logits, labels, confidence)]
    assert loss.item() == pytest.approx(np.mean(terms))


@settings(max_examples=40)
@given(**cases)
def test_dice_is_that_of_the_confident_foreground(seed, classes, grid, threshold):
    logits, labels, confidence = random_case(seed, classes, grid)
    loss = consistency_dice_loss(logits, labels, confidence, threshold).item()
    assert loss == pytest.approx(naive_dice_loss(logits, labels, confidence, threshold), abs=1e-7)
    assert 0 <= loss <= 1


@pytest.mark.parametrize("loss_function", [consistency_loss, consistency_dice_loss])
def test_without_a_confident_voxel_loss_and_gradient_are_zero(loss_function):
    logits, labels, confidence = random_case(0, 3, (4, 4, 4))
    logits.requires_grad_()
    loss = loss_function(logits, labels, confidence, 0.95)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("loss_function", [consistency_loss, consistency_dice_loss])
def test_only_confident_voxels_get_a_gradient(loss_function):
    logits, labels, confidence = random_case(1, 3, (4, 4, 4))
    logits.requires_grad_()
    loss_function(logits, labels, confidence, 0.75).backward()
    assert torch.equal(logits.grad.abs().sum(1) > 0, confidence >= 0.75)


def test_dice_counts_no_class_that_the_confident_pseudo_labels_lack():
    """Class 2 is predicted everywhere and labelled nowhere: it is not foreground to be found."""
    logits = torch.zeros(1, 3, 2, 2)
    logits[:, 2] = 50.0
    assert consistency_dice_loss(logits, torch.zeros(1, 2, 2, dtype=torch.long), torch.ones(1, 2, 2), 0.5).item() == 0


def test_dice_of_a_perfect_prediction_is_zero():
    labels = torch.randint(0, 3, (2, 4, 4, 4))
    logits = 100 * torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float()
    assert consistency_dice_loss(logits, labels, torch.ones(2, 4, 4, 4), 0.5).item() == pytest.approx(0, abs=1e-6)
