"""The processes of a distributed training, one for each GPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def is_distributed() -> bool:
    """Return True in a distributed training, even one with a single process."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def number_of_processes() -> int:
    """Return the number of processes that train together; 1 without distributed training."""
    return torch.distributed.get_world_size() if is_distributed() else 1


def sum_over_processes(values: Tensor) -> Tensor:
    """Add the values of all processes, which must all call this function.

    Args:
        values: Tensor of the same shape in each process, changed in place.

    Returns:
        The same tensor.
    """
    if number_of_processes() > 1:
        torch.distributed.all_reduce(values)
    return values


def average_gradients(module: nn.Module) -> None:
    """Average the gradients of a module over the processes of a distributed training.

    nnU-Net's wrapper averages those of its network only; this function averages those of the added modules.
    """
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    if not gradients or number_of_processes() == 1:
        return
    # One collective for all of them.
    flat = sum_over_processes(torch.cat([gradient.flatten() for gradient in gradients])) / number_of_processes()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
