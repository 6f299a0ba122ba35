"""Measure how hard each loss term pulls at the features that all of them share, and balance one term by it."""

import math

import torch
from torch import Tensor, nn

PREFIX = "gradient_"
TERMS = ("supervised", "consistency", "cps")
"""M is read from coarser stages and pulls at none of these features."""
GRADIENTS = tuple(f"{PREFIX}{term}" for term in TERMS)
"""Names of the curves."""

# Gradients of a mean over many voxels are too small for float16, in which autocast hands them on.
_SCALE = 2.0**16


def gradient_norms(losses: dict[str, Tensor], shared: Tensor) -> dict[str, Tensor]:
    """Norm of each unweighted term's gradient at a tensor that all of them were computed from.

    Args:
        losses: Terms by name, not yet backpropagated; the graph is kept.
        shared: Features of the last decoder stage, (B, F, *grid).

    Returns:
        Scalars for those of :data:`TERMS` that there are; NaN where the term does not depend on ``shared``. Under
        torch.compile that is so for all but CPS: logits and features are both results of one compiled function there.
    """
    found = {}
    for name in TERMS:
        if name in losses:
            (gradient,) = torch.autograd.grad(losses[name] * _SCALE, shared, retain_graph=True, allow_unused=True)
            missing = torch.full((), math.nan, device=shared.device)
            found[name] = missing if gradient is None else gradient.float().norm() / _SCALE
    return found


class GradientBalance(nn.Module):
    """A factor by which one term pulls at the shared features as hard as another, averaged over steps."""

    factor: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.ones(()))

    @torch.no_grad()
    def update(self, reference: Tensor, term: Tensor) -> None:
        """Learn from the two norms of one step; norms of no use (0, NaN) change nothing.

        Args:
            reference: Norm of the gradient to be matched, a scalar.
            term: Norm of the gradient to be scaled, a scalar.
        """
        ratio = reference / term
        usable = torch.isfinite(ratio) & (ratio > 0)
        self.factor.lerp_(torch.where(usable, ratio, self.factor), 0.1)
