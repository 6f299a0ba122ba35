"""The representation head at the voxels asked for against the head at all voxels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunetv2_crln.modules.representation import RepresentationHead


def representation_of_every_voxel(head: RepresentationHead, features: torch.Tensor) -> np.ndarray:
    """(B, *grid, out), written with the layers' weights."""
    hidden, _, last = head.voxelwise
    if isinstance(head.dense, torch.nn.Identity):
        first, norm = hidden
        x = np.moveaxis(features.numpy(), 1, -1) @ first.weight.detach().numpy().T + first.bias.detach().numpy()
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + norm.eps)
    else:
        conv, norm = head.dense
        x = np.moveaxis(conv(features).detach().numpy(), 1, -1)
        axes = tuple(range(1, x.ndim - 1))
        x = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + norm.eps)
    x = np.maximum(x * norm.weight.detach().numpy() + norm.bias.detach().numpy(), 0)
    return x @ last.weight.detach().numpy().T + last.bias.detach().numpy()


@settings(max_examples=25)
@given(
    kernel=st.sampled_from([1, 3]),
    grid=st.integers(2, 3).flatmap(lambda ndim: st.tuples(*[st.integers(2, 5)] * ndim)),
    batch=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_sampled_voxels_equal_the_dense_evaluation(kernel, grid, batch, seed):
    torch.manual_seed(seed)
    head = RepresentationHead(3, 5, len(grid), kernel).double()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_()
    features = torch.randn(batch, 3, *grid, dtype=torch.float64)
    voxels = torch.randint(0, batch * int(np.prod(grid)), (17,))
    where = np.unravel_index(voxels.numpy(), (batch, *grid))
    expected = representation_of_every_voxel(head, features)[where]
    np.testing.assert_allclose(head(features, voxels).detach().numpy(), expected, rtol=1e-9, atol=1e-12)


def test_with_kernel_1_only_the_asked_voxels_get_a_gradient():
    head = RepresentationHead(3, 5)
    features = torch.randn(2, 3, 4, 4, 4, requires_grad=True)
    head(features, torch.tensor([0, 70, 70])).sum().backward()
    touched = features.grad.abs().sum(1).flatten().nonzero().flatten().tolist()
    assert touched == [0, 70]


@pytest.mark.parametrize("kernel", [1, 3])
def test_every_parameter_gets_a_gradient(kernel):
    head = RepresentationHead(3, 5, kernel_size=kernel)
    representations = head(torch.randn(2, 3, 4, 4, 4), torch.arange(0, 128, 3))
    (representations * torch.randn_like(representations)).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in head.parameters())
