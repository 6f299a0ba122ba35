"""Counting left-out steps without waiting for the device, and running statistics that stay finite."""

import math

import pytest
import torch
from torch import nn

from nnunetv2_crln.training.numerical_safety import FiniteBuffers, SkippedSteps, finite_mean

FINITE, NAN, INF = torch.tensor(1.0), torch.tensor(math.nan), torch.tensor(math.inf)


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_steps_are_counted_in_total_and_in_a_row(bad):
    steps = SkippedSteps(torch.device("cpu"))
    assert bool(steps.count([FINITE, FINITE]))
    for _ in range(3):
        assert not bool(steps.count([FINITE, bad]))
    assert steps.read() == (3, 3)
    steps.count([FINITE])
    assert steps.read() == (3, 0)
    steps.count([bad])
    assert steps.read() == (4, 1)


def test_counts_survive_a_checkpoint():
    steps, restored = SkippedSteps(torch.device("cpu")), SkippedSteps(torch.device("cpu"))
    steps.count([NAN])
    restored.load_state_dict(steps.state_dict())
    restored.count([NAN])
    assert restored.read() == (2, 2)


def test_running_statistics_forget_a_bad_batch_and_nothing_else():
    norm = nn.BatchNorm1d(3)
    buffers = FiniteBuffers(norm)
    torch.manual_seed(0)
    norm(torch.randn(8, 3))
    buffers.repair()
    before = {name: value.clone() for name, value in norm.named_buffers()}
    batch = torch.randn(8, 3)
    batch[0, 1] = math.nan
    norm(batch)
    assert not torch.isfinite(norm.running_mean).all()
    buffers.repair()
    assert torch.isfinite(norm.running_mean).all() and torch.isfinite(norm.running_var).all()
    assert norm.running_mean[1] == before["running_mean"][1]
    assert norm.running_mean[0] != before["running_mean"][0]


def test_without_running_statistics_there_is_nothing_to_do():
    FiniteBuffers(nn.InstanceNorm3d(4, affine=True)).repair()


def test_mean_of_the_finite_values():
    values = torch.tensor([[1.0, math.nan, math.nan], [3.0, 2.0, math.inf]])
    mean = finite_mean(values)
    assert mean[:2].tolist() == [2.0, 2.0] and math.isnan(mean[2])
