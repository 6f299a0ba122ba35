"""Count the optimiser steps that were skipped, without waiting for the device in the training step."""

from collections.abc import Sequence

import torch
from torch import Tensor


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
