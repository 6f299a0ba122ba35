"""Define when rectification starts and how the unsupervised terms grow, in iterations of one training."""

import math
from dataclasses import dataclass

from nnunetv2_crln.settings import CRLNSettings


@dataclass(frozen=True)
class Phase:
    """Training phase of one step.

    Attributes:
        rectifying: True if rectification has started.
        ramp: Factor of the unsupervised terms, in [0, 1].
        cps: Further factor of CPS, in [0, 1].
    """

    rectifying: bool
    ramp: float
    cps: float = 1.0


@dataclass(frozen=True)
class Phases:
    """Starts and lengths of the phases of one training.

    Attributes:
        rectification_start: First iteration with rectified pseudo labels; None without a dynamic interaction module.
        ramp_up: Number of iterations over which the unsupervised terms grow.
        cps_ramp_down: Number of iterations at the end over which CPS fades out.
        total: Length of the training in iterations; needed with ``cps_ramp_down`` alone.
    """

    rectification_start: int | None
    ramp_up: int
    cps_ramp_down: int = 0
    total: int = 0

    @classmethod
    def of(cls, settings: CRLNSettings, total_iterations: int) -> "Phases":
        """Derive the phases from the settings; values that are null become shares of the training, 2 % and 10 %.

        Args:
            settings: Hyper-parameters.
            total_iterations: Length of the training.

        Returns:
            The phases.
        """
        start, length = settings.rectification_start, settings.ramp_up
        start = total_iterations // 50 if start is None else start
        length = total_iterations // 10 if length is None else length
        fading = round(settings.cps_ramp_down * total_iterations)
        return cls(start if settings.dim else None, length, fading, total_iterations if fading else 0)

    def at(self, step: int) -> Phase:
        """Return the phase of a step.

        The ramp-up is Gaussian: ``exp(-5 (1 - t)^2)`` at share ``t`` of its length, and 1 afterwards. CPS fades out
        linearly: its last iteration has the factor 0.
        """
        rectifying = self.rectification_start is not None and step >= self.rectification_start
        ramp = 1.0 if step >= self.ramp_up else math.exp(-5 * (1 - step / self.ramp_up) ** 2)
        left = self.total - 1 - step
        cps = min(1.0, max(0.0, left / self.cps_ramp_down)) if self.cps_ramp_down else 1.0
        return Phase(rectifying, ramp, cps)
