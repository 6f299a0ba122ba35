"""The Dynamic Interaction Module against loops over prototypes, voxels and kernel offsets."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nnunetv2_crln.modules import dim as dim_module
from nnunetv2_crln.modules.dim import (
    DynamicInteractionModule,
    LinearAggregation,
    NonLinearAggregation,
    PrototypeAttention,
    ProximityMaps,
)


def randomised(module: nn.Module) -> nn.Module:
    """Double precision and no parameter at a value (0 or 1) that hides whether it is used."""
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.5)
    return module


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def linear(x: np.ndarray, layer: nn.Linear) -> np.ndarray:
    return np.array([[w @ v for w in array(layer.weight)] for v in x]) + array(layer.bias)


def layer_norm(x: np.ndarray, layer: nn.LayerNorm) -> np.ndarray:
    rows = [(v - v.mean()) / math.sqrt(v.var() + layer.eps) for v in x]
    return np.array(rows) * array(layer.weight) + array(layer.bias)


def gelu(x: np.ndarray) -> np.ndarray:
    return np.array([[v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in row] for row in x])


def voxel_list(features: np.ndarray) -> np.ndarray:
    """(F, *grid) to (voxels, F), one voxel after the other."""
    return np.array([features[(slice(None), *voxel)] for voxel in np.ndindex(features.shape[1:])])


def naive_block1(block: PrototypeAttention, prototypes: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Eq. 3-4 for one image, prototype by prototype."""
    tokens = layer_norm(linear(voxel_list(features), block.tokens.pointwise), block.tokens.norm)
    keys, values = linear(tokens, block.key), linear(tokens, block.value)
    queries = linear(layer_norm(prototypes, block.query_norm), block.query)
    result = []
    for prototype, query in zip(prototypes, queries, strict=True):
        proximity = np.array([query @ key for key in keys]) / math.sqrt(prototypes.shape[1])
        share = np.exp(proximity - proximity.max())
        attended = (share / share.sum()) @ values
        updated = prototype + linear(attended[None], block.projection)[0]
        hidden = gelu(linear(layer_norm(updated[None], block.mlp[0]), block.mlp[1]))
        result.append(updated + linear(hidden, block.mlp[3])[0])
    return np.array(result)


def naive_proximity(block: ProximityMaps, prototypes: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Pre-softmax proximity maps of one image, (prototypes, *grid)."""
    queries = linear(layer_norm(linear(prototypes, block.transfer), block.query_norm), block.query)
    tokens = layer_norm(linear(voxel_list(features), block.tokens.pointwise), block.tokens.norm)
    maps = queries @ linear(tokens, block.key).T / math.sqrt(features.shape[0])
    return maps.reshape(len(prototypes), *features.shape[1:])


def naive_convolution(channels: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Channels (R, *grid) with a kernel (R, *k), zero outside the grid, summed over R."""
    grid, kernel = channels.shape[1:], weight.shape[1:]
    padded = np.pad(channels, [(0, 0), *[(k // 2, k // 2) for k in kernel]])
    result = np.zeros(grid)
    for offset in np.ndindex(*kernel):
        window = padded[(slice(None), *[slice(o, o + n) for o, n in zip(offset, grid, strict=True)])]
        for r in range(len(channels)):
            result += weight[(r, *offset)] * window[r]
    return result


def naive_linear_aggregation(module: LinearAggregation, maps: np.ndarray) -> np.ndarray:
    """Maps (C, R, *grid) of one image: every one of them convolved, then their weighted sum or mean."""
    weight = array(module.weight)
    result = []
    for c, maps_of_class in enumerate(maps):
        own = weight[c if len(weight) > 1 else 0]
        if module.integration:
            result.append(naive_convolution(maps_of_class, own))
        else:
            result.append(np.mean([naive_convolution(m[None], own) for m in maps_of_class], axis=0))
    return np.array(result)


def naive_interpolation(maps: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """(C, *grid) to (C, *size): linear along one axis after the other, voxel edges aligned."""
    for axis, (new, old) in enumerate(zip(size, maps.shape[1:], strict=True), start=1):
        matrix = np.zeros((new, old))
        for i in range(new):
            position = min(max((i + 0.5) * old / new - 0.5, 0), old - 1)
            low = int(position)
            matrix[i, low] += 1 - (position - low)
            matrix[i, min(low + 1, old - 1)] += position - low
        maps = np.moveaxis(np.tensordot(matrix, maps, axes=(1, axis)), 0, axis)
    return maps


grids = st.integers(2, 3).flatmap(lambda ndim: st.tuples(*[st.integers(1, 5)] * ndim))


@pytest.mark.parametrize("grid", [(2, 3, 2), (5, 3)])
def test_block1_is_equations_3_and_4(grid):
    block = randomised(PrototypeAttention(4))
    prototypes = torch.randn(6, 4, dtype=torch.float64)
    features = torch.randn(2, 4, *grid, dtype=torch.float64)
    expected = [naive_block1(block, array(prototypes), array(image)) for image in features]
    np.testing.assert_allclose(array(block(prototypes, features)), expected, rtol=1e-9)


@pytest.mark.parametrize("grid", [(2, 3, 2), (5, 3)])
def test_queries_times_keys_are_the_proximity_maps(grid):
    block = randomised(ProximityMaps(4, 3))
    prototypes = torch.randn(2, 6, 4, dtype=torch.float64)
    features = torch.randn(2, 3, *grid, dtype=torch.float64)
    queries, keys = block(prototypes, features)
    maps = torch.einsum("bpf,bfv->bpv", queries, keys.flatten(2)).reshape(2, 6, *grid)
    expected = [naive_proximity(block, array(p), array(f)) for p, f in zip(prototypes, features, strict=True)]
    np.testing.assert_allclose(array(maps), expected, rtol=1e-9)


@settings(max_examples=40)
@given(
    grid=grids,
    classes=st.integers(1, 4),
    prototypes=st.integers(1, 5),
    channels=st.integers(1, 4),
    switches=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_linear_aggregation_equals_convolving_every_proximity_map(grid, classes, prototypes, channels, switches):
    module = randomised(LinearAggregation(prototypes, len(grid), classes, *switches))
    queries = torch.randn(2, classes, prototypes, channels, dtype=torch.float64)
    keys = torch.randn(2, channels, *grid, dtype=torch.float64)
    expected = [
        naive_linear_aggregation(module, np.tensordot(array(q), array(k), axes=1))
        for q, k in zip(queries, keys, strict=True)
    ]
    np.testing.assert_allclose(array(module(queries, keys)), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("switches", "shape"),
    [
        ((True, True, True), (1, 5, 3, 3, 3)),
        ((False, True, True), (1, 5, 1, 1, 1)),
        ((True, False, True), (1, 1, 3, 3, 3)),
        ((True, True, False), (4, 5, 3, 3, 3)),
    ],
)
def test_each_ablation_switch_takes_away_its_weights(switches, shape):
    assert LinearAggregation(5, 3, 4, *switches).weight.shape == shape


class LargestTensor(TorchDispatchMode):
    """Remembers the size of the largest tensor that any operation made, in the backward pass too."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.elements = max(self.elements, leaf.numel())
        return result


@pytest.mark.parametrize("unfolded", [0, 1 << 20], ids=["large images", "small images"])
@pytest.mark.parametrize("batch", [1, 2, 3, 5])
def test_images_convolved_together_and_one_by_one_give_the_same(monkeypatch, batch, unfolded):
    monkeypatch.setattr(dim_module, "_UNFOLDED", unfolded)
    images, kernels = torch.randn(batch, 3, 4, 5, 6), torch.randn(batch, 17, 3, 3, 3, 3)
    expected = F.conv3d(images.flatten(0, 1)[None], kernels.flatten(0, 1), padding=1, groups=batch)
    found = dim_module._convolve_each(images, kernels)
    torch.testing.assert_close(found, expected.unflatten(1, (batch, 17))[0], rtol=1e-4, atol=1e-4)


def largest_tensor(aggregation: nn.Module, classes: int, prototypes: int, grid: tuple[int, ...]) -> int:
    queries = torch.randn(1, classes, prototypes, 8, requires_grad=True)
    keys = torch.randn(1, 8, *grid, requires_grad=True)
    with LargestTensor() as largest:
        aggregation(queries, keys).sum().backward()
    return largest.elements


def test_linear_aggregation_forms_no_tensor_that_grows_with_the_number_of_prototypes():
    grid = (12, 12, 12)
    few, many = (largest_tensor(LinearAggregation(r, 3, 4), 4, r, grid) for r in (1, 64))
    assert many == few == 8 * math.prod(grid)


def test_the_published_aggregation_does_form_the_proximity_maps():
    """So the measurement of the test above would notice them."""
    grid = (4, 4, 4)
    whole = largest_tensor(NonLinearAggregation(16, 3), 4, 16, grid)
    one_class_at_a_time = largest_tensor(NonLinearAggregation(16, 3, max_maps=16), 4, 16, grid)
    assert whole >= 4 * 16 * math.prod(grid)
    assert one_class_at_a_time < whole


@pytest.mark.parametrize("grid", [(3, 4, 2), (5, 3)])
def test_nonlinear_aggregation_equals_its_layers_one_by_one(grid):
    module = randomised(NonLinearAggregation(3, len(grid)))
    depthwise, pointwise, norm, _, mix = module.layers
    queries = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    keys = torch.randn(2, 5, *grid, dtype=torch.float64)
    expected = np.zeros((2, 4, *grid))
    for b, c in itertools.product(range(2), range(4)):
        maps = np.tensordot(array(queries[b, c]), array(keys[b]), axes=1)
        spatial = np.array([naive_convolution(m[None], array(depthwise.weight)[r]) for r, m in enumerate(maps)])
        mixed = np.tensordot(array(pointwise.weight).reshape(3, 3), spatial, axes=1)
        for r in range(3):
            normal = (mixed[r] - mixed[r].mean()) / np.sqrt(mixed[r].var() + norm.eps)
            active = np.maximum(normal * array(norm.weight)[r] + array(norm.bias)[r], 0)
            expected[b, c] += array(mix.weight).reshape(3)[r] * active
    np.testing.assert_allclose(array(module(queries, keys)), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("max_maps", [1, 3, 7])
def test_nonlinear_aggregation_class_by_class_changes_neither_output_nor_gradients(max_maps):
    whole = randomised(NonLinearAggregation(3, 3, max_maps=1000))
    chunked = NonLinearAggregation(3, 3, max_maps=max_maps).double()
    chunked.load_state_dict(whole.state_dict())
    assert chunked.classes_at_once < 5 < whole.classes_at_once
    queries = torch.randn(2, 5, 3, 4, dtype=torch.float64, requires_grad=True)
    keys = torch.randn(2, 4, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 5, 3, 2, 3, dtype=torch.float64)

    def output_and_gradients(module):
        output = module(queries, keys)
        return output, *torch.autograd.grad((output * weight).sum(), [queries, keys, *module.parameters()])

    for a, b in zip(output_and_gradients(whole), output_and_gradients(chunked), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@settings(max_examples=20)
@given(grid=grids, classes=st.integers(1, 3), prototypes=st.integers(1, 3), stride=st.integers(1, 3), odd=st.booleans())
def test_relationship_map_equals_the_naive_module(grid, classes, prototypes, stride, odd):
    """Equations 3 to 7 from end to end, also on grids that are not multiples of each other."""
    dim = randomised(DynamicInteractionModule(classes, prototypes, (4, 3), len(grid)))
    quarter = torch.randn(2, 4, *[max(1, n // 2) for n in grid], dtype=torch.float64)
    half = torch.randn(2, 3, *grid, dtype=torch.float64)
    size = tuple(n * stride + odd for n in grid)
    expected = []
    for z2, z3 in zip(array(quarter), array(half), strict=True):
        updated = naive_block1(dim.block1, array(dim.prototypes).reshape(-1, 4), z2)
        maps = naive_proximity(dim.block2, updated, z3).reshape(classes, prototypes, *grid)
        expected.append(naive_interpolation(naive_linear_aggregation(dim.aggregation, maps), size))
    relationship_map = dim(quarter, half, size)
    assert relationship_map.shape == (2, classes, *size)
    np.testing.assert_allclose(array(relationship_map), expected, rtol=1e-8, atol=1e-8)


VARIANTS = [
    {},
    {"spatial_awareness": False},
    {"integration": False},
    {"shared_classes": False},
    {"spatial_awareness": False, "integration": False, "shared_classes": False},
    {"aggregation": "nonlinear"},
]


def variant_name(options: dict) -> str:
    return ",".join(options) or "default"


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("options", VARIANTS, ids=variant_name)
def test_every_parameter_and_both_features_get_a_gradient(options, ndim):
    """A parameter without gradient would stop DistributedDataParallel."""
    dim = DynamicInteractionModule(3, 2, (6, 4), ndim, **options).double()
    quarter = torch.randn(2, 6, *[2] * ndim, dtype=torch.float64, requires_grad=True)
    half = torch.randn(2, 4, *[4] * ndim, dtype=torch.float64, requires_grad=True)
    relationship_map = dim(quarter, half, [8] * ndim)
    (relationship_map * torch.randn_like(relationship_map)).sum().backward()
    gradients = {"quarter": quarter.grad, "half": half.grad} | {n: p.grad for n, p in dim.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None] == []
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())
    # A constant added to all keys moves no softmax: this gradient exists and is zero by construction.
    unused = [name for name, gradient in gradients.items() if gradient.abs().max() < 1e-12]
    assert unused in ([], ["block1.key.bias"])


@pytest.mark.parametrize("options", VARIANTS, ids=variant_name)
def test_maps_of_an_image_do_not_depend_on_the_rest_of_the_batch(options):
    dim = randomised(DynamicInteractionModule(3, 2, (6, 4), 3, **options))
    quarter, half = torch.randn(3, 6, 2, 2, 2).double(), torch.randn(3, 4, 4, 4, 4).double()
    together = dim(quarter, half, (8, 8, 8))
    alone = torch.cat([dim(quarter[i : i + 1], half[i : i + 1], (8, 8, 8)) for i in range(3)])
    torch.testing.assert_close(together, alone)
    assert not torch.allclose(together[0], together[1])


def test_classes_and_prototypes_start_with_different_maps():
    dim = DynamicInteractionModule(3, 4, (6, 4))
    relationship_map = dim(torch.randn(1, 6, 2, 2, 2), torch.randn(1, 4, 4, 4, 4), (4, 4, 4))[0]
    for a, b in itertools.combinations(relationship_map, 2):
        assert not torch.allclose(a, b)


@pytest.mark.parametrize("options", VARIANTS, ids=variant_name)
def test_works_under_bfloat16_autocast(options):
    dim = DynamicInteractionModule(3, 2, (6, 4), 3, **options)
    quarter, half = torch.randn(2, 6, 2, 2, 2), torch.randn(2, 4, 4, 4, 4)
    exact = dim(quarter, half, (8, 8, 8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        reduced = dim(quarter, half, (8, 8, 8))
    reduced.float().square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in dim.parameters())
    assert (reduced.float() - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize("options", [{}, {"aggregation": "nonlinear"}], ids=variant_name)
def test_can_overfit_one_image(options):
    dim = DynamicInteractionModule(3, 4, (8, 6), 3, **options)
    quarter, half = torch.randn(1, 8, 2, 2, 2), torch.randn(1, 6, 4, 4, 4)
    labels = F.interpolate(half[:, :3], (8, 8, 8), mode="trilinear").argmax(1)
    optimiser = torch.optim.Adam(dim.parameters(), 0.02)
    for _ in range(120):
        loss = F.cross_entropy(dim(quarter, half, (8, 8, 8)), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    correct = (dim(quarter, half, (8, 8, 8)).argmax(1) == labels).float().mean().item()
    assert correct > 0.9
