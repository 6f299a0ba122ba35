"""Losses that are computed twice are the same losses, and keep nothing but their maps."""

import gc
import weakref

import pytest
import torch
from torch.nn import functional as F

from nnunetv2_crln.losses import recomputation
from nnunetv2_crln.losses.recomputation import probability_of, recomputed_if_large


def loss_of(maps: torch.Tensor, labels: torch.Tensor, weight: float) -> torch.Tensor:
    return weight * F.cross_entropy(maps, labels) + torch.softmax(maps, 1)[:, 1].square().mean()


def value_gradient_and_saved_bytes(maps: torch.Tensor, labels: torch.Tensor):
    maps = maps.detach().requires_grad_()
    saved = []

    def keep(tensor):
        saved.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = recomputed_if_large(loss_of, maps, labels, 0.5)
    value.backward()
    return value.detach(), maps.grad, sum(saved)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_value_and_gradient_are_the_same_and_the_inputs_alone_are_kept(monkeypatch, dtype):
    maps, labels = torch.randn(2, 5, 4, 4, dtype=dtype), torch.randint(0, 5, (2, 4, 4))
    value, gradient, saved = value_gradient_and_saved_bytes(maps, labels)
    monkeypatch.setattr(recomputation, "LARGE", maps[0].numel())
    large_value, large_gradient, large_saved = value_gradient_and_saved_bytes(maps, labels)
    assert torch.equal(large_value, value) and torch.equal(large_gradient, gradient)
    inputs = maps.numel() * maps.element_size() + labels.numel() * labels.element_size()
    assert large_saved <= inputs < saved
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_processes_with_different_numbers_of_patches_do_the_same(monkeypatch):
    """A loss that gathers from all processes would otherwise wait for the others in the backward pass."""
    calls = []

    def loss(maps):
        calls.append(len(maps))
        return maps.square().mean()

    monkeypatch.setattr(recomputation, "LARGE", 3 * 4 * 4)
    for batch in (1, 2):
        recomputed_if_large(loss, torch.randn(batch, 3, 4, 4, requires_grad=True)).backward()
    assert calls == [1, 1, 2, 2]


def test_nothing_of_the_second_computation_outlives_the_backward_pass(monkeypatch):
    """Not even until the garbage collector comes: on a GPU the memory is needed at once."""
    monkeypatch.setattr(recomputation, "LARGE", 0)
    made = []

    class Loss(torch.nn.Module):
        def forward(self, maps):
            shares = torch.softmax(maps, 1)
            made.append(weakref.ref(shares))
            return shares.square().mean()

    maps = torch.randn(1, 3, 4, requires_grad=True)
    gc.collect()
    gc.disable()
    try:
        recomputed_if_large(Loss(), maps).backward()
        assert len(made) == 2
        assert [reference() for reference in made] == [None, None]
    finally:
        gc.enable()


def test_without_gradient_it_is_the_loss_itself(monkeypatch):
    monkeypatch.setattr(recomputation, "LARGE", 0)
    maps, labels = torch.randn(1, 3, 4), torch.randint(0, 3, (1, 4))
    with torch.no_grad():
        assert torch.equal(recomputed_if_large(loss_of, maps, labels, 2.0), loss_of(maps, labels, 2.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_probability_of_one_class(dtype):
    logits, labels = 5 * torch.randn(3, 4, 2, 3, 5).to(dtype), torch.randint(0, 4, (3, 2, 3, 5))
    expected = torch.softmax(logits.float(), 1).gather(1, labels[:, None])[:, 0]
    found = probability_of(logits, labels)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
