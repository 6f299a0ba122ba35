"""The scaler's verdict stays on the device, and training does not notice."""

import pytest
import torch
from torch._subclasses import FakeTensorMode

from nnunetv2_crln.training.fused_optimiser import _use_fused, skip_overflows_on_the_device


def optimiser(fused: bool, **options):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    sgd = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-3, nesterov=True, **options)
    sgd.add_param_group({"params": [torch.nn.Parameter(torch.ones(3))], "lr": 0.1})
    _use_fused(sgd, fused)
    return sgd


def parameters(sgd):
    return [p for group in sgd.param_groups for p in group["params"]]


def run(sgd, overflows: list[bool]) -> list[torch.Tensor]:
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    generator = torch.Generator().manual_seed(1)
    for overflow in overflows:
        for p in parameters(sgd):
            p.grad = 4 * torch.randn(p.shape, generator=generator)
        if overflow:
            parameters(sgd)[0].grad[0] = torch.inf
        scaler.scale(torch.zeros(()))
        scaler.unscale_(sgd)
        torch.nn.utils.clip_grad_norm_(parameters(sgd), 12)
        scaler.step(sgd)
        scaler.update(4.0)
    return [p.detach().clone() for p in parameters(sgd)]


@pytest.mark.parametrize("overflows", [[False] * 4, [True, False, False], [False, True, False], [True, True, False]])
def test_steps_and_skips_as_without_it(overflows):
    with_it, without = run(optimiser(True), overflows), run(optimiser(False), overflows)
    for a, b in zip(with_it, without, strict=True):
        torch.testing.assert_close(a, b)


def test_an_optimiser_with_foreach_steps_and_skips_too():
    """As a derived trainer may make it; torch's foreach implementation fails if it is given the verdict."""
    overflows = [False, True, False]
    with_it, without = run(optimiser(True, foreach=True), overflows), run(optimiser(False, foreach=True), overflows)
    for a, b in zip(with_it, without, strict=True):
        torch.testing.assert_close(a, b)


def test_a_differentiable_optimiser_is_left_alone():
    with FakeTensorMode():  # a device that is not there
        weights = torch.nn.Parameter(torch.ones(1, device="cuda"))
        plain, differentiable = (torch.optim.SGD([weights], 0.1, differentiable=d) for d in (False, True))
        for sgd in (plain, differentiable):
            skip_overflows_on_the_device(sgd)
    assert plain.param_groups[0]["fused"] and not differentiable.param_groups[0]["fused"]


def test_the_verdict_is_not_read_on_the_host(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "item", lambda tensor: pytest.fail("read on the host"))
    run(optimiser(True), [False, True])


def test_without_cuda_nothing_changes():
    sgd = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], 0.1, momentum=0.9)
    skip_overflows_on_the_device(sgd)
    assert not sgd.param_groups[0]["fused"]
    assert not sgd.state


def test_a_state_from_cuda_runs_without_it():
    here, there = optimiser(False), optimiser(True)
    run(there, [False])
    here.load_state_dict(there.state_dict())
    assert here.param_groups[0]["fused"]
    skip_overflows_on_the_device(here)
    assert not here.param_groups[0]["fused"]
    run(here, [True, False])


def test_other_optimisers_are_left_alone():
    adam = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))])
    skip_overflows_on_the_device(adam)
    assert not adam.param_groups[0]["fused"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_it_is_used():
    sgd = torch.optim.SGD([torch.nn.Parameter(torch.ones(1, device="cuda"))], 0.1, momentum=0.9)
    skip_overflows_on_the_device(sgd)
    assert sgd.param_groups[0]["fused"]


def test_momentum_takes_on_the_memory_format_of_its_parameter():
    """The CUDA kernel refuses others, such as those of a training that was begun on a CPU."""
    weights = torch.nn.Parameter(torch.randn(4, 3, 3, 3, 3))
    sgd = torch.optim.SGD([weights], 0.1, momentum=0.9)
    weights.grad = torch.randn_like(weights)
    sgd.step()
    momentum = sgd.state[weights]["momentum_buffer"].clone()
    weights.data = weights.data.to(memory_format=torch.channels_last_3d)
    _use_fused(sgd, True)
    assert sgd.state[weights]["momentum_buffer"].stride() == weights.stride() != momentum.stride()
    torch.testing.assert_close(sgd.state[weights]["momentum_buffer"], momentum)
