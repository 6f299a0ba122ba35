"""Running statistics that stay finite."""

import math

import torch
from torch import nn

from nnunetv2_crln.training.method.finite_buffers import FiniteBuffers


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
