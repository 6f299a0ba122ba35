"""What the settings build, and the ramp-up."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_crln.modules.dim import LinearAggregation, NonLinearAggregation
from nnunetv2_crln.modules.rectification import ConcatRectification, CorrectionParameter, FixedRectification
from nnunetv2_crln.training.heads import Heads, build_rectifier, ramp
from nnunetv2_crln.training.settings import CRLNSettings


@pytest.mark.parametrize(("dim", "cps"), [(True, True), (True, False), (False, True), (False, False)])
def test_parts_that_are_switched_off_are_not_built(dim, cps):
    heads = Heads((8, 6, 4), 3, 3, CRLNSettings(dim=dim, cps=cps))
    assert (heads.dim is not None, heads.representation is not None) == (dim, cps)
    assert bool(list(heads.parameters())) == (dim or cps)


def test_representations_have_the_dimension_of_the_prototypes():
    heads = Heads((8, 6, 4), 3, 3, CRLNSettings(num_prototypes=5))
    assert heads.dim.prototypes.shape == (3, 5, 8)
    assert heads.representation(torch.randn(1, 4, 4, 4, 4), torch.arange(7)).shape == (7, 8)


def test_settings_reach_the_dim():
    published = Heads((8, 6, 4), 3, 3, CRLNSettings(aggregation="nonlinear"))
    assert isinstance(published.dim.aggregation, NonLinearAggregation)
    ablation = Heads((8, 6, 4), 3, 2, CRLNSettings(num_prototypes=2, spatial_awareness=False, shared_classes=False))
    assert isinstance(ablation.dim.aggregation, LinearAggregation)
    assert ablation.dim.aggregation.weight.shape == (3, 2, 1, 1)
    no_integration = Heads((8, 6, 4), 3, 2, CRLNSettings(num_prototypes=2, integration=False))
    assert no_integration.dim.aggregation.weight.shape == (1, 1, 3, 3)


@pytest.mark.parametrize("ndim", [2, 3])
def test_rectification_is_the_one_that_the_settings_name(ndim):
    learned = build_rectifier(3, ndim, CRLNSettings(mu_initial=0.25))
    assert isinstance(learned, CorrectionParameter) and learned.mu.item() == 0.25
    fixed = build_rectifier(3, ndim, CRLNSettings(rectification="fixed", confidence_threshold=0.8))
    assert isinstance(fixed, FixedRectification) and fixed.confidence_threshold == 0.8
    concat = build_rectifier(3, ndim, CRLNSettings(rectification="concat"))
    assert isinstance(concat, ConcatRectification) and concat.mix.weight.ndim == ndim + 2


@given(length=st.integers(1, 10**5), step=st.integers(0, 2 * 10**5))
def test_ramp_is_gaussian_and_then_1(length, step):
    distance = max(0.0, (length - step) / length)
    assert ramp(step, length) == pytest.approx(math.e ** (-5 * distance**2))


def test_without_a_length_the_ramp_is_1_from_the_first_iteration():
    assert ramp(0, 0) == 1.0
