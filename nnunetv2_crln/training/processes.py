"""The processes of a distributed training, one for each GPU."""

from __future__ import annotations

import torch
from torch import Tensor


def is_distributed() -> bool:
    """Return True in a distributed training, be it of a single process."""
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
