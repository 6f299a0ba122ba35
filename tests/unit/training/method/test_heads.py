"""Modules that the settings build."""

import pytest
import torch

from nnunetv2_crln.modules.dim import LinearAggregation, NonLinearAggregation
from nnunetv2_crln.modules.rectification import (
    ConcatRectification,
    CorrectionParameter,
    FixedRectification,
    SumRectification,
)
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.method.heads import Heads, build_rectifier


@pytest.mark.parametrize(("dim", "cps"), [(True, True), (True, False), (False, True), (False, False)])
def test_parts_that_are_switched_off_are_not_built(dim, cps):
    heads = Heads((8, 6, 4), 3, 3, CRLNSettings(dim=dim, cps=cps))
    assert (heads.dim is not None, heads.representation is not None) == (dim, cps)
    assert bool(list(heads.parameters())) == (dim or cps)


def test_representations_have_the_dimension_of_the_prototypes():
    heads = Heads((8, 6, 4), 3, 3, CRLNSettings(num_prototypes=5))
    assert heads.dim.prototypes.shape == (3, 5, 8)
    assert heads.representation(torch.randn(1, 4, 4, 4, 4), torch.arange(7)).shape == (7, 8)


@pytest.mark.parametrize(("kernel", "dense"), [(1, torch.nn.Identity), (3, torch.nn.Sequential)])
def test_representations_see_as_far_as_the_settings_say(kernel, dense):
    heads = Heads((8, 6, 4), 3, 3, CRLNSettings(representation_kernel=kernel))
    assert type(heads.representation.dense) is dense


def test_settings_reach_the_dim():
    published = Heads((8, 6, 4), 3, 3, CRLNSettings(aggregation="nonlinear"))
    assert isinstance(published.dim.aggregation, NonLinearAggregation)
    ablation = Heads((8, 6, 4), 3, 2, CRLNSettings(num_prototypes=2, spatial_awareness=False, shared_classes=False))
    assert isinstance(ablation.dim.aggregation, LinearAggregation)
    assert ablation.dim.aggregation.weight.shape == (3, 2, 1, 1)
    no_integration = Heads((8, 6, 4), 3, 2, CRLNSettings(num_prototypes=2, integration=False))
    assert no_integration.dim.aggregation.weight.shape == (1, 1, 3, 3)


@pytest.mark.parametrize(
    ("num_classes", "regions", "image"), [(2, False, False), (3, False, True), (1, True, False), (3, True, False)]
)
def test_image_prototypes_rectify_where_there_are_several_structures(num_classes, regions, image):
    settings = CRLNSettings()
    assert Heads((8, 6, 4), num_classes, 3, settings, regions).image_prototypes == image
    rectifier = build_rectifier(num_classes, 3, settings, regions)
    assert type(rectifier.rectifier if regions else rectifier) is (SumRectification if image else FixedRectification)


@pytest.mark.parametrize("ndim", [2, 3])
def test_rectification_is_the_one_that_the_settings_name(ndim):
    learned = build_rectifier(3, ndim, CRLNSettings(rectification="learned", mu_initial=0.25))
    assert isinstance(learned, CorrectionParameter) and learned.mu.item() == 0.25
    fixed = build_rectifier(3, ndim, CRLNSettings(rectification="fixed", confidence_threshold=0.8))
    assert isinstance(fixed, FixedRectification) and fixed.confidence_threshold == 0.8
    assert isinstance(build_rectifier(3, ndim, CRLNSettings(rectification="image")), SumRectification)
    concat = build_rectifier(3, ndim, CRLNSettings(rectification="concat"))
    assert isinstance(concat, ConcatRectification) and concat.mix.weight.ndim == ndim + 2
