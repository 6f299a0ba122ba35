"""When rectification starts and how the unsupervised terms grow, in iterations of one training."""

import math
from dataclasses import dataclass

from nnunetv2_crln.settings import CRLNSettings


@dataclass(frozen=True)
class Phase:
    """The state of one step.

    Attributes:
        rectifying: Rectification has started.
        ramp: Factor in [0, 1] of the unsupervised terms.
    """

    rectifying: bool
    ramp: float


@dataclass(frozen=True)
class Phases:
    """When each phase of one training begins.

    Attributes:
        rectification_start: First iteration with rectified pseudo labels; None: without a DIM there is none.
        ramp_up: Iterations over which the unsupervised terms grow.
    """

    rectification_start: int | None
    ramp_up: int

    @classmethod
    def of(cls, settings: CRLNSettings, total_iterations: int) -> "Phases":
        """Settings that are null become shares of the training: 2 % and 10 %."""
        start, length = settings.rectification_start, settings.ramp_up
        start = total_iterations // 50 if start is None else start
        return cls(start if settings.dim else None, total_iterations // 10 if length is None else length)

    def at(self, step: int) -> Phase:
        """The Gaussian ramp-up ``exp(-5 (1 - t)^2)`` at share ``t`` of its length, 1 after it."""
        rectifying = self.rectification_start is not None and step >= self.rectification_start
        ramp = 1.0 if step >= self.ramp_up else math.exp(-5 * (1 - step / self.ramp_up) ** 2)
        return Phase(rectifying, ramp)
