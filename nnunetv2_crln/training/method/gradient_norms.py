"""Measure the gradient of each loss term at the features that all terms share, and balance one term by it."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from nnunetv2_crln.utilities.processes import sum_over_processes

GRADIENT_PREFIX = "gradient_"
TERMS = ("supervised", "consistency", "cps")
"""Terms to measure. The relationship map M is computed from coarser stages and has no gradient at these features."""
TERMS_IF_COMPILED = ("cps",)
"""Terms to measure in a compiled network. Its logits and features are both results of one function, so that losses of
the logits have no gradient at the features; and a compiled loss allows one backward pass alone, that of the step."""
GRADIENTS = tuple(f"{GRADIENT_PREFIX}{term}" for term in TERMS)
"""Names of the curves."""

SMOOTHING = 0.1
"""Weight of a new ratio in the moving average."""

# Gradients of a mean over many voxels are too small for float16, in which autocast passes them on.
_SCALE = 2.0**16


def gradient_norms(losses: dict[str, Tensor], shared: Tensor) -> dict[str, Tensor]:
    """Compute the norm of each unweighted term's gradient at a tensor from which all of them were computed.

    Args:
        losses: Terms by name, scalar tensors, not yet backpropagated; the graph is kept.
        shared: Features of the last decoder stage, (B, F, *grid).

    Returns:
        Scalar tensors for those of :data:`TERMS` in ``losses``; NaN if the term does not depend on ``shared``.
    """
    found = {}
    for name in TERMS:
        if name in losses:
            (gradient,) = torch.autograd.grad(losses[name] * _SCALE, shared, retain_graph=True, allow_unused=True)
            missing = torch.full((), math.nan, device=shared.device)
            found[name] = missing if gradient is None else gradient.float().norm() / _SCALE
    return found


class GradientBalance(nn.Module):
    """Average the factor that gives one term the same gradient norm at the shared features as another.

    The first ratios are averaged evenly, so that the factor does not begin with a guess that may be wrong by a hundred.
    """

    factor: Tensor
    updates: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.ones(()))
        self.register_buffer("updates", torch.zeros(()))

    @torch.no_grad()
    def update(self, reference: Tensor, term: Tensor) -> None:
        """Update the factor with the two norms of one step; unusable norms (0, NaN) change nothing.

        Args:
            reference: Norm of the gradient to match, scalar tensor.
            term: Norm of the gradient to scale, scalar tensor.
        """
        # The same factor in all processes.
        reference, term = sum_over_processes(torch.stack([reference, term]))
        ratio = reference / term
        usable = torch.isfinite(ratio) & (ratio > 0)
        self.updates.add_(usable)
        self.factor.lerp_(torch.where(usable, ratio, self.factor), (1 / self.updates.clamp(min=1)).clamp(min=SMOOTHING))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *arguments: Any) -> None:
        # Checkpoints of earlier versions have no counter; their factor has settled, so go on with the smallest step.
        state_dict.setdefault(f"{prefix}updates", torch.full((), 1 / SMOOTHING))
        super()._load_from_state_dict(state_dict, prefix, *arguments)
