"""Keep the scale of the loss in mixed precision usable, without waiting for the device in the training step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nnunetv2_crln.utilities.processes import sum_over_processes

SMALLEST_SCALE = 1.0
"""Scale below which losses are made smaller, so that more gradients become zero in float16 than without it."""


def update_scale(scaler: torch.amp.GradScaler, loss: Tensor) -> None:
    """Let the scaler choose its next scale, unless the loss itself was not finite, for which no scale is to blame.

    Otherwise one such step in 50 would halve the scale again and again: it grows only after 2,000 good steps in a row.

    Args:
        scaler: Gradient scaler, after its optimiser step.
        loss: Loss of the step before it was scaled, scalar tensor. All processes keep their scale if that of one of
            them was not finite, because they share the gradients.
    """
    if not scaler.is_enabled():
        return
    finite = sum_over_processes((~torch.isfinite(loss.detach())).float()) == 0
    state = (scaler._scale, scaler._growth_tracker)
    former = [value.clone() for value in state]  # type: ignore[union-attr]
    scaler.update()
    for value, before in zip(state, former, strict=True):
        value.copy_(torch.where(finite, value, before))  # type: ignore[union-attr, arg-type]


def with_usable_scale(state: dict[str, Any], initial: float) -> dict[str, Any]:
    """Replace a scale in a checkpoint with which a training would learn next to nothing.

    Args:
        state: State of a gradient scaler.
        initial: Scale that a training begins with.

    Returns:
        The state; with the initial scale if its own is below :data:`SMALLEST_SCALE`.
    """
    return {**state, "scale": initial} if state.get("scale", initial) < SMALLEST_SCALE else state
