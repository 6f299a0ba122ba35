"""Processes of a distributed training; with several they are tested in tests/integration/test_distributed.py."""

import torch
from torch import nn

from nnunetv2_crln.utilities.processes import average_gradients


def test_one_process_averages_nothing():
    network = nn.Linear(2, 1)
    network(torch.ones(1, 2)).sum().backward()
    before = network.weight.grad.clone()
    average_gradients(network)
    assert torch.equal(network.weight.grad, before)
