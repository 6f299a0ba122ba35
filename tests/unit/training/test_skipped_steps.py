"""Counting left-out steps without waiting for the device."""

import math

import pytest
import torch

from nnunetv2_crln.training.skipped_steps import SkippedSteps

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
