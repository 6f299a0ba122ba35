"""Consistency loss against loops over voxels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunetv2_crln.losses.consistency import consistency_loss


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
    loss = consistency_loss(logits, labels, (confidence >= threshold).double())
    terms = [-np.log(p[y]) if c >= threshold else 0 for p, y, c in voxels_of(logits, labels, confidence)]
    assert loss.item() == pytest.approx(np.mean(terms))


def test_without_a_confident_voxel_loss_and_gradient_are_zero():
    logits, labels, confidence = random_case(0, 3, (4, 4, 4))
    logits.requires_grad_()
    loss = consistency_loss(logits, labels, (confidence >= 0.95).double())
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_only_confident_voxels_get_a_gradient():
    logits, labels, confidence = random_case(1, 3, (4, 4, 4))
    logits.requires_grad_()
    consistency_loss(logits, labels, (confidence >= 0.75).double()).backward()
    assert torch.equal(logits.grad.abs().sum(1) > 0, confidence >= 0.75)


def test_a_voxel_counts_as_much_as_its_weight():
    logits, labels, _ = random_case(2, 3, (4, 4))
    first, second = torch.rand(2, 2, 4, 4, dtype=torch.float64)
    parts = [consistency_loss(logits, labels, weight) for weight in (first, second)]
    assert consistency_loss(logits, labels, first + 2 * second).item() == pytest.approx(
        (parts[0] + 2 * parts[1]).item()
    )
