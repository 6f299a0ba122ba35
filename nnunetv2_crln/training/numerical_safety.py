"""Keep NaN and infinity out of the weights, without waiting for the device in the training step."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SkippedSteps:
    """Count optimiser steps that were skipped because a gradient was not finite; the counts stay on the device.

    Args:
        device: Device of the gradients.
    """

    def __init__(self, device: torch.device) -> None:
        self._counts = torch.zeros(2, dtype=torch.int64, device=device)  # in total, in a row

    def count(self, norms: Sequence[Tensor]) -> Tensor:
        """Count one step.

        Args:
            norms: Gradient norms, scalar tensors; a norm is not finite if a gradient is not.

        Returns:
            Scalar bool tensor on the device: True if all norms are finite.
        """
        finite = torch.isfinite(torch.stack([norm.float() for norm in norms])).all()
        self._counts += ~finite
        self._counts[1] *= ~finite
        return finite

    def read(self) -> tuple[int, int]:
        """Return the number of skipped steps in total and in a row up to now; this waits for the device."""
        total, in_a_row = self._counts.tolist()
        return total, in_a_row

    def state_dict(self) -> dict[str, int]:
        """Return the counts, for the checkpoint."""
        total, in_a_row = self.read()
        return {"total": total, "in_a_row": in_a_row}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Restore the counts of a checkpoint."""
        self._counts.copy_(torch.tensor([state["total"], state["in_a_row"]]))


class FiniteBuffers:
    """Protect the running statistics of a module (batch norm) from non-finite batches.

    Weights are safe because the optimiser step is skipped, but running statistics change in the forward pass already.

    Args:
        module: Module whose buffers are finite now. Without floating-point buffers nothing is done.
    """

    def __init__(self, module: nn.Module) -> None:
        self._buffers = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
        self._finite = [buffer.clone() for buffer in self._buffers]

    @torch.no_grad()
    def repair(self) -> None:
        """Replace non-finite values by the last finite ones; call this after each backward pass, which reads them."""
        for buffer, finite in zip(self._buffers, self._finite, strict=True):
            torch.where(torch.isfinite(buffer), buffer, finite, out=finite)
            buffer.copy_(finite)


def finite_mean(values: Tensor) -> Tensor:
    """Average the finite values (N, ...) over axis 0; the result (...) is NaN where none is finite."""
    finite = torch.isfinite(values)
    return torch.where(finite, values, 0).sum(0) / finite.sum(0)
