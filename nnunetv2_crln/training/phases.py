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
    """

    rectifying: bool
    ramp: float


@dataclass(frozen=True)
class Phases:
    """Starts and lengths of the phases of one training.

    Attributes:
        rectification_start: First iteration with rectified pseudo labels; None without a dynamic interaction module.
        ramp_up: Number of iterations over which the unsupervised terms grow.
    """

    rectification_start: int | None
    ramp_up: int

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
        return cls(start if settings.dim else None, total_iterations // 10 if length is None else length)

    def at(self, step: int) -> Phase:
        """Return the phase of a step.

        The ramp-up is Gaussian: ``exp(-5 (1 - t)^2)`` at share ``t`` of its length, and 1 afterwards.
        """
        rectifying = self.rectification_start is not None and step >= self.rectification_start
        ramp = 1.0 if step >= self.ramp_up else math.exp(-5 * (1 - step / self.ramp_up) ** 2)
        return Phase(rectifying, ramp)
