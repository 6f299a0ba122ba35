"""The EMA teacher (Algorithm 1)."""

import copy

import torch
from torch import nn


def ema_decay(step: int, maximum: float) -> float:
    """Decay of the update after iteration ``step`` (from 0): ``min(1 - 1 / (step + 1), maximum)``."""
    return min(1 - 1 / (step + 1), maximum)


class EMATeacher:
    """An exponential moving average of student modules, always in evaluation mode and without gradient.

    Floating-point buffers (running statistics of batch norm) are averaged like parameters, the others are copied, so
    that the teacher predicts with its own statistics.

    Args:
        student: Module to copy. Hooks on it are copied with it: attach feature taps afterwards, one to each.
    """

    def __init__(self, student: nn.Module) -> None:
        self.module = copy.deepcopy(student).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, student: nn.Module, decay: float) -> None:
        """``teacher = decay * teacher + (1 - decay) * student``, all tensors in one fused operation."""
        averaged, new = [], []
        for mine, theirs in zip(self._tensors(self.module), self._tensors(student), strict=True):
            if mine.is_floating_point():
                averaged.append(mine)
                new.append(theirs)
            else:
                mine.copy_(theirs)
        if averaged:  # the heads of a mean teacher have no parameters
            torch._foreach_lerp_(averaged, new, 1 - decay)

    def copy_from(self, student: nn.Module) -> None:
        """Start over as an exact copy of the student."""
        self.module.load_state_dict(student.state_dict())

    @staticmethod
    def _tensors(module: nn.Module):
        yield from module.parameters()
        yield from module.buffers()
