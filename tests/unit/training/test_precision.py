"""Arithmetic of a training step."""

import pytest
import torch

from nnunetv2_crln.training.precision import autocast_context


@pytest.mark.parametrize(("bfloat16", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_cpu_computes_as_it_is_told(bfloat16, expected):
    with autocast_context(torch.device("cpu"), bfloat16):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


def test_other_devices_than_cuda_and_cpu_stay_in_single_precision():
    with autocast_context(torch.device("mps"), cpu_bfloat16=True):
        assert not torch.is_autocast_enabled()
