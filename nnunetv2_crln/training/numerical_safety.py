"""What keeps NaN and infinity out of the weights, without waiting for the device in the training step."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SkippedSteps:
    """Counts optimiser steps that were left out because a gradient was not finite; the counts stay on the device.

    Args:
        device: Of the gradients.
    """

    def __init__(self, device: torch.device) -> None:
        self._counts = torch.zeros(2, dtype=torch.int64, device=device)  # in total, in a row

    def count(self, norms: Sequence[Tensor]) -> Tensor:
        """Note one step.

        Args:
            norms: Gradient norms, not finite if a gradient is not.

        Returns:
            Whether all are finite, a bool scalar on the device.
        """
        finite = torch.isfinite(torch.stack([norm.float() for norm in norms])).all()
        self._counts += ~finite
        self._counts[1] *= ~finite
        return finite

    def read(self) -> tuple[int, int]:
        """Steps left out in total and, the last ones, in a row; waits for the device."""
        total, in_a_row = self._counts.tolist()
        return total, in_a_row

    def state_dict(self) -> dict[str, int]:
        """For the checkpoint."""
        total, in_a_row = self.read()
        return {"total": total, "in_a_row": in_a_row}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """From the checkpoint."""
        self._counts.copy_(torch.tensor([state["total"], state["in_a_row"]]))


class FiniteBuffers:
    """Running statistics of a module (batch norm's) that a non-finite batch cannot spoil for good.

    Weights are safe because the optimiser step is left out; running statistics change in the forward pass already.

    Args:
        module: Its buffers must be finite now. Without floating-point buffers nothing is done.
    """

    def __init__(self, module: nn.Module) -> None:
        self._buffers = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
        self._finite = [buffer.clone() for buffer in self._buffers]

    @torch.no_grad()
    def repair(self) -> None:
        """Put the last finite values in place of others; call after each backward pass, which reads them."""
        for buffer, finite in zip(self._buffers, self._finite, strict=True):
            torch.where(torch.isfinite(buffer), buffer, finite, out=finite)
            buffer.copy_(finite)


def finite_mean(values: Tensor) -> Tensor:
    """Mean over axis 0 of the finite values; NaN where there is none."""
    finite = torch.isfinite(values)
    return torch.where(finite, values, 0).sum(0) / finite.sum(0)
