"""Exponential moving average (EMA) of the student: the teacher (Algorithm 1)."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn


def ema_decay(step: int, maximum: float) -> float:
    """Compute the decay of the teacher's update: ``min(1 - 1 / (step + 1), maximum)``.

    Args:
        step: Iteration that precedes the update, from 0.
        maximum: Limit of the decay.

    Returns:
        Decay in [0, ``maximum``].
    """
    return min(1 - 1 / (step + 1), maximum)


def longest_decay(iterations_per_epoch: int, total_iterations: int) -> float:
    """Choose the decay that averages over an epoch or 2 % of the training, the shorter one, but at least 100 steps.

    The paper's 0.99 averages over 100 of 40,000 iterations; relative to nnU-Net's 250,000 a longer average is equally
    recent.

    Args:
        iterations_per_epoch: Number of iterations per epoch.
        total_iterations: Number of iterations of the training.

    Returns:
        Decay of the moving average, at least 0.99.

    Example:
        >>> longest_decay(250, 250_000), longest_decay(200, 40_000), longest_decay(50, 1_000)
        (0.996, 0.995, 0.99)
    """
    return 1 - 1 / max(100, min(iterations_per_epoch, total_iterations // 50))


class EMATeacher:
    """Keep an exponential moving average of a student module, in evaluation mode and without gradient.

    Floating-point buffers (running statistics of batch norm) are averaged like parameters, so that the teacher predicts
    with its own statistics; other buffers are copied.

    Args:
        student: Module to copy. Its hooks are copied too: attach feature taps to each of the two afterwards.
    """

    def __init__(self, student: nn.Module) -> None:
        self.module = copy.deepcopy(student).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, student: nn.Module, decay: float) -> None:
        """Set ``teacher = decay * teacher + (1 - decay) * student`` for all tensors in one fused operation.

        Args:
            student: Module with the structure of the teacher.
            decay: Weight of the teacher, in [0, 1].
        """
        averaged, new = [], []
        for mine, theirs in zip(self._tensors(self.module), self._tensors(student), strict=True):
            if mine.is_floating_point():
                averaged.append(mine)
                new.append(theirs)
            else:
                mine.copy_(theirs)
        if averaged:  # the heads of a mean teacher have no parameters
            torch._foreach_lerp_(averaged, new, 1 - decay)

    def equals(self, student: nn.Module) -> bool:
        """Check whether teacher and student have the same weights; this waits for the device."""
        pairs = zip(self._tensors(self.module), self._tensors(student), strict=True)
        return all(torch.equal(mine, theirs) for mine, theirs in pairs)

    def copy_from(self, student: nn.Module) -> None:
        """Make the teacher an exact copy of the student."""
        self.module.load_state_dict(student.state_dict())

    @staticmethod
    def _tensors(module: nn.Module) -> Iterator[Tensor]:
        yield from module.parameters()
        yield from module.buffers()
