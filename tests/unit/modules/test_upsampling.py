"""Interpolation as matrix products against torch's own."""

import pytest
import torch
from torch.nn import functional as F

from nnunetv2_crln.modules.upsampling import upsample_linear

MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


@pytest.mark.parametrize(
    ("grid", "size"),
    [((5,), (11,)), ((4, 6), (8, 12)), ((3, 5, 7), (6, 9, 7)), ((4, 4, 4), (4, 4, 4)), ((1, 6, 3), (1, 12, 6))],
)
def test_values_and_gradients_are_those_of_torch(grid, size):
    ours = torch.randn(2, 3, *grid, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    weights = torch.randn(2, 3, *size)
    found = upsample_linear(ours, size)
    expected = F.interpolate(theirs, size, mode=MODES[len(size)], align_corners=False)
    torch.testing.assert_close(found, expected)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_half_precision_is_interpolated_in_single_precision():
    assert upsample_linear(torch.ones(1, 2, 3, 4, dtype=torch.bfloat16), (6, 8)).dtype == torch.float32


def test_training_works_after_a_first_call_in_inference_mode():
    with torch.inference_mode():
        upsample_linear(torch.ones(1, 1, 13), (29,))
    maps = torch.ones(1, 1, 13, requires_grad=True)
    upsample_linear(maps, (29,)).sum().backward()
    assert maps.grad is not None
