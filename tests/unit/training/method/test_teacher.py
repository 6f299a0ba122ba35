"""The EMA teacher against its formula."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nnunetv2_crln.training.method.teacher import EMATeacher, ema_decay, longest_decay


def student() -> nn.Module:
    """Parameters, averaged buffers and an integer buffer (num_batches_tracked)."""
    network = nn.Sequential(nn.Conv3d(1, 3, 3), nn.BatchNorm3d(3), nn.Conv3d(3, 2, 1))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_()
    network(torch.randn(4, 1, 5, 5, 5))
    return network


def trained_further(network: nn.Module) -> None:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter))
    network(10 + torch.randn(4, 1, 5, 5, 5))


@pytest.mark.parametrize(
    ("step", "decay"), [(0, 0.0), (1, 0.5), (2, 2 / 3), (9, 0.9), (98, 98 / 99), (99, 0.99), (5000, 0.99)]
)
def test_decay_rises_to_its_maximum(step, decay):
    assert ema_decay(step, 0.99) == pytest.approx(decay)


@given(steps=st.integers(1, 50))
def test_without_a_maximum_the_teacher_is_the_plain_mean_of_the_students(steps):
    values = torch.arange(1.0, steps + 1, dtype=torch.float64) ** 2
    mean = 0.0
    for step, value in enumerate(values.tolist()):
        decay = ema_decay(step, 1.0)
        mean = decay * mean + (1 - decay) * value
    assert mean == pytest.approx(values.mean().item())


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.99, 1.0])
def test_update_is_the_moving_average_of_parameters_and_running_statistics(decay):
    network = student()
    teacher = EMATeacher(network)
    before = copy.deepcopy(teacher.module.state_dict())
    trained_further(network)
    teacher.update(network, decay)
    for name, tensor in teacher.module.state_dict().items():
        theirs = network.state_dict()[name]
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, decay * before[name] + (1 - decay) * theirs, msg=name)
        else:
            assert torch.equal(tensor, theirs), name
    assert "1.running_mean" in before and "1.num_batches_tracked" in before


def test_first_update_copies_the_student():
    network = student()
    teacher = EMATeacher(network)
    trained_further(network)
    teacher.update(network, ema_decay(0, 0.99))
    for name, tensor in teacher.module.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name]), name


def test_update_leaves_the_student_alone():
    network = student()
    teacher = EMATeacher(network)
    trained_further(network)
    before = copy.deepcopy(network.state_dict())
    teacher.update(network, 0.9)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_teacher_is_a_copy_in_evaluation_mode_without_gradient():
    network = student().train()
    teacher = EMATeacher(network)
    assert network.training and all(p.requires_grad for p in network.parameters())
    assert not any(m.training for m in teacher.module.modules())
    assert not any(p.requires_grad for p in teacher.module.parameters())
    addresses = {t.data_ptr() for t in network.state_dict().values()}
    assert addresses.isdisjoint(t.data_ptr() for t in teacher.module.state_dict().values())


def test_teachers_own_statistics_do_not_move_when_it_predicts():
    teacher = EMATeacher(student())
    before = copy.deepcopy(teacher.module.state_dict())
    teacher.module(50 + torch.randn(2, 1, 5, 5, 5))
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.module.state_dict().items())


def test_copy_from_starts_over():
    network = student()
    teacher = EMATeacher(network)
    trained_further(network)
    teacher.copy_from(network)
    for name, tensor in teacher.module.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name]), name
    assert not any(p.requires_grad for p in teacher.module.parameters())


def test_another_architecture_is_refused():
    with pytest.raises(ValueError, match="zip"):
        EMATeacher(student()).update(nn.Conv3d(1, 3, 3), 0.5)


def test_modules_without_parameters_can_be_averaged():
    EMATeacher(nn.Identity()).update(nn.Identity(), 0.99)


@pytest.mark.parametrize(
    ("per_epoch", "total", "steps"), [(250, 250_000, 250), (250, 10_000, 200), (50, 1000, 100), (0, 0, 100)]
)
def test_the_longest_memory_is_an_epoch_or_a_fiftieth_of_the_training(per_epoch, total, steps):
    assert longest_decay(per_epoch, total) == pytest.approx(1 - 1 / steps)
