"""Choose the arithmetic of a training."""

from __future__ import annotations

import contextlib

import torch


def autocast_context(device: torch.device, cpu_bfloat16: bool) -> contextlib.AbstractContextManager:
    """Return the autocast context of a training step.

    Args:
        device: Device of the training; CUDA always computes in half precision, as in nnU-Net.
        cpu_bfloat16: Compute in bfloat16 on a CPU.

    Returns:
        Context manager for the forward pass.
    """
    if device.type == "cuda":
        return torch.autocast("cuda")
    if device.type == "cpu" and cpu_bfloat16:
        return torch.autocast("cpu", dtype=torch.bfloat16)
    return contextlib.nullcontext()
