"""Define when the unsupervised terms and rectification start, in iterations of one training."""

import math
from dataclasses import dataclass

from nnunetv2_crln.settings import CRLNSettings

ITERATIONS_ALONE = 1000
"""Iterations after which a network of random weights has learned enough from the labelled patches, as measured."""


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
        unsupervised_start: First iteration in which the unsupervised terms count; before it the labelled patches alone
            determine the loss.
    """

    rectification_start: int | None
    ramp_up: int
    unsupervised_start: int = 0

    @classmethod
    def of(cls, settings: CRLNSettings, total_iterations: int, pretrained: bool = False) -> "Phases":
        """Derive the phases from the settings.

        What is null there becomes 2 % of the training for the start of rectification, 10 % for the ramp-up, and for the
        start of the unsupervised terms half of the training, but no more than 1,000 iterations. Steps before it do all
        of the work and weight it with 0, so that time and memory of a training are known from its first steps.

        Args:
            settings: Hyper-parameters.
            total_iterations: Length of the training.
            pretrained: True if the network starts from trained weights: the unsupervised terms then start at once.

        Returns:
            The phases.
        """
        alone = 0 if pretrained else min(total_iterations // 2, ITERATIONS_ALONE)
        return cls(
            _given(settings.rectification_start, total_iterations // 50) if settings.dim else None,
            _given(settings.ramp_up, total_iterations // 10),
            _given(settings.unsupervised_start, alone),
        )

    def describe_start(self, iterations_per_epoch: int) -> str:
        """Say from which epoch on the unlabelled patches count.

        Args:
            iterations_per_epoch: Number of iterations of an epoch.

        Returns:
            A clause that begins with a comma; empty if they count from the start.

        Example:
            >>> Phases(20, 100, 500).describe_start(50)
            ', the unlabelled ones count from epoch 11 on'
        """
        if not self.unsupervised_start:
            return ""
        return f", the unlabelled ones count from epoch {self.unsupervised_start // iterations_per_epoch + 1} on"

    def at(self, step: int) -> Phase:
        """Return the phase of a step.

        The ramp-up is Gaussian: ``exp(-5 (1 - t)^2)`` at share ``t`` of its length, 0 before it and 1 afterwards.
        """
        rectifying = self.rectification_start is not None and step >= self.rectification_start
        growing = step - self.unsupervised_start
        if growing < 0:
            return Phase(rectifying, 0.0)
        ramp = 1.0 if growing >= self.ramp_up else math.exp(-5 * (1 - growing / self.ramp_up) ** 2)
        return Phase(rectifying, ramp)


def _given(setting: int | None, default: int) -> int:
    return default if setting is None else setting
