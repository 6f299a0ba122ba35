"""Keep NaN and infinity out of running statistics, without waiting for the device in the training step."""

import torch
from torch import nn


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
