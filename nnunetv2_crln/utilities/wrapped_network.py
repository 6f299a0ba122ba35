"""Look through torch.compile and DistributedDataParallel at the network inside."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def unwrap(module: nn.Module) -> nn.Module:
    """Return the network inside torch.compile and DistributedDataParallel."""
    inner = undistributed(module)
    return getattr(inner, "_orig_mod", inner)


def undistributed(module: nn.Module) -> nn.Module:
    """Return the network inside DistributedDataParallel, which may be compiled."""
    return module.module if isinstance(module, DistributedDataParallel) else module


def is_compiled(module: nn.Module) -> bool:
    """Return True if the network is inside torch.compile."""
    return unwrap(module) is not undistributed(module)


def keep_batch_sizes_static(module: nn.Module) -> None:
    """Let torch.compile make a graph for each batch size, as it does for plain nnU-Net.

    Student and teacher share one forward function and see batches of different sizes. Without this, torch.compile
    takes the batch size for a variable after the second one, and its code generator gives up faster memory layouts.

    Args:
        module: Network; nothing changes unless it is compiled.
    """
    if is_compiled(module):
        undistributed(module).register_forward_pre_hook(_mark_batch_size_static)


def _mark_batch_size_static(module: nn.Module, inputs: tuple[Any, ...]) -> None:
    torch._dynamo.mark_static(inputs[0], 0)
