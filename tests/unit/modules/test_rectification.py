"""Rectification: Eq. 8 with its gradient, Eq. 17, and the concatenation of Table 7."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from nnunetv2_crln.modules.rectification import (
    AgreementRectification,
    ConcatRectification,
    CorrectionParameter,
    FixedRectification,
    rectify_logits,
    rectify_where_unsure,
)


def maps(ndim: int = 3, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    shape = (2, classes, *(4, 3, 5)[:ndim])
    return torch.randn(shape, dtype=torch.float64), torch.randn(shape, dtype=torch.float64)


@given(logit=st.floats(-9, 9), correction=st.floats(-9, 9), mu=st.floats(0, 1))
def test_rectified_logit_is_equation_8(logit, correction, mu):
    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    rectified = rectify_logits(logit * one, correction * one, torch.tensor(mu, dtype=torch.float64))
    assert rectified.item() == pytest.approx(logit + (1 - mu) * correction)


def test_gradient_of_mu_equals_the_finite_difference():
    logits, relationship_map = maps()
    labels = torch.randint(0, 3, (2, 4, 3, 5))

    def loss(mu: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(rectify_logits(logits, relationship_map, mu), labels)

    mu = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    loss(mu).backward()
    difference = (loss(mu.detach() + 1e-6) - loss(mu.detach() - 1e-6)) / 2e-6
    assert mu.grad.item() == pytest.approx(difference.item(), rel=1e-6)


def test_gradients_reach_logits_map_and_mu():
    logits, relationship_map = (m.requires_grad_() for m in maps())
    module = CorrectionParameter(0.25).double()
    module(logits, relationship_map).sum().backward()
    assert torch.equal(logits.grad, torch.ones_like(logits))
    assert torch.equal(relationship_map.grad, torch.full_like(logits, 0.75))
    assert module.mu.grad.item() == pytest.approx(-relationship_map.sum().item())


@pytest.mark.parametrize(("before", "after"), [(-0.2, 0.0), (0.0, 0.0), (0.4, 0.4), (1.0, 1.0), (1.7, 1.0)])
def test_projection_brings_mu_into_0_to_1(before, after):
    module = CorrectionParameter(before)
    module.project()
    assert module.mu.item() == pytest.approx(after)
    assert module.mu.requires_grad


def test_mu_stays_in_its_range_whatever_the_learning_rate():
    module = CorrectionParameter()
    optimiser = torch.optim.SGD(module.parameters(), 1000.0)
    for sign in (1, -1, 1, -1, -1):
        optimiser.zero_grad()
        (sign * module(*[m.float() for m in maps()])).sum().backward()
        optimiser.step()
        module.project()
        assert 0 <= module.mu.item() <= 1


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), threshold=st.floats(0, 1), ndim=st.integers(2, 3))
def test_fixed_takes_the_map_where_the_logits_are_unsure_and_the_map_is_surer(seed, threshold, ndim):
    torch.manual_seed(seed)
    logits, relationship_map = maps(ndim)
    rectified = FixedRectification(threshold)(logits, relationship_map).numpy()

    def confidence(voxel: np.ndarray) -> float:
        return (np.exp(voxel) / np.exp(voxel).sum()).max()

    for b, *voxel in np.ndindex(2, *logits.shape[2:]):
        at = (b, slice(None), *voxel)
        own, other = logits.numpy()[at], relationship_map.numpy()[at]
        taken = other if confidence(own) < threshold and confidence(other) > confidence(own) else own
        np.testing.assert_array_equal(rectified[at], taken)


def test_fixed_has_nothing_to_train():
    module = FixedRectification(0.95)
    assert list(module.parameters()) == []
    module.project()


@pytest.mark.parametrize("ndim", [2, 3])
def test_concat_starts_as_the_sum_of_logits_and_map(ndim):
    logits, relationship_map = maps(ndim)
    module = ConcatRectification(3, ndim).double()
    torch.testing.assert_close(module(logits, relationship_map), logits + relationship_map)


def test_concat_mixes_all_classes_of_both_voxel_by_voxel():
    logits, relationship_map = maps()
    module = ConcatRectification(3, 3).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    weight, bias = module.mix.weight.detach().numpy().reshape(3, 6), module.mix.bias.detach().numpy()
    mixed = module(logits, relationship_map).detach().numpy()
    for b, *voxel in np.ndindex(2, *logits.shape[2:]):
        at = (b, slice(None), *voxel)
        both = np.concatenate([logits.numpy()[at], relationship_map.numpy()[at]])
        np.testing.assert_allclose(mixed[at], weight @ both + bias)


@pytest.mark.parametrize(
    "rectify",
    [
        lambda a, b: rectify_logits(a, b, torch.tensor(0.0)),
        lambda a, b: rectify_where_unsure(a, b, 0.9),
        CorrectionParameter(),
        ConcatRectification(3, 3),
        FixedRectification(0.9),
    ],
    ids=["rectify_logits", "rectify_where_unsure", "learned", "concat", "fixed"],
)
def test_maps_of_different_shape_are_refused(rectify):
    """Broadcasting would hide the mistake."""
    with pytest.raises(ValueError, match=r"Logits \(1, 3, 4, 4, 4\) and relationship map \(1, 1, 4, 4, 4\)"):
        rectify(torch.zeros(1, 3, 4, 4, 4), torch.zeros(1, 1, 4, 4, 4))


@pytest.mark.parametrize("disagreement_weight", [0.0, 0.3, 1.0])
def test_agreement_takes_the_surers_class_and_trusts_it_where_both_name_it(disagreement_weight):
    """Voxel by voxel."""
    logits, relationship_map = maps()
    module = AgreementRectification(disagreement_weight)
    rectified = torch.softmax(module(logits, relationship_map), 1).numpy()
    trust = module.trust(logits, relationship_map)
    seen = set()
    for b, *voxel in np.ndindex(2, 4, 3, 5):
        opinions = [torch.softmax(o[(b, slice(None), *voxel)], 0).numpy() for o in (logits, relationship_map)]
        surer = max(opinions, key=np.max)
        agree = opinions[0].argmax() == opinions[1].argmax()
        np.testing.assert_allclose(rectified[(b, slice(None), *voxel)], surer)
        assert trust[(b, *voxel)].item() == (1 if agree else pytest.approx(disagreement_weight))
        seen.add((agree, surer is opinions[0]))
    assert len(seen) == 4  # all combinations occur


def test_agreement_has_no_parameter():
    assert not list(AgreementRectification(0.0).parameters())


def test_at_the_threshold_and_where_both_are_equally_sure_the_logits_stay():
    """In single precision the probabilities of many voxels are exactly 1."""
    unsure = torch.zeros(1, 2, 1, 1)  # exactly one half
    certain = torch.tensor([50.0, 0.0]).reshape(1, 2, 1, 1)
    assert torch.equal(rectify_where_unsure(unsure, certain, 0.5), unsure)
    assert torch.equal(rectify_where_unsure(unsure, certain, 0.6), certain)
    assert torch.equal(rectify_where_unsure(certain, certain.flip(1)), certain)
