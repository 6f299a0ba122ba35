"""Make nnU-Net's own training a fair baseline: on a CPU it computes as the semi-supervised trainers do."""

from __future__ import annotations

import contextlib
from typing import Any

from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.hooks.cpu_arithmetic import CPUArithmetic
from nnunetv2_crln.training.unused_layers import freezing_unused_layers
from nnunetv2_crln.utilities.light_pools import light_validation


class SupervisedBaseline(CPUArithmetic):
    """Mixin that gives nnU-Net's own trainer the arithmetic, layout and allocator of the semi-supervised trainers."""

    def initialize(self: Any) -> None:
        """Read the settings that the plans have for a CPU, and build the network."""
        self.settings = CRLNSettings.from_plans(self.configuration_manager.configuration)
        with freezing_unused_layers(self):
            super().initialize()

    def train_step(self: Any, batch: dict) -> dict:
        """Train one step in the chosen arithmetic."""
        with self._autocast_on_cpu():
            return super().train_step(batch)  # type: ignore[misc]

    def validation_step(self: Any, batch: dict) -> dict:
        """Validate one batch in the chosen arithmetic."""
        with self._autocast_on_cpu():
            return super().validation_step(batch)  # type: ignore[misc]

    def perform_actual_validation(self: Any, save_probabilities: bool = False) -> None:
        """Validate on whole cases with one worker process per core at most."""
        with light_validation():
            super().perform_actual_validation(save_probabilities)  # type: ignore[misc]

    def _autocast_on_cpu(self: Any) -> contextlib.AbstractContextManager:
        # On a GPU, nnU-Net's own step does so.
        return self.autocast() if self.device.type == "cpu" else contextlib.nullcontext()
