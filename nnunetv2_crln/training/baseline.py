"""Make nnU-Net's own training a fair baseline: on a CPU it computes as the semi-supervised trainers do."""

from __future__ import annotations

import contextlib
from typing import Any

from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.cpu import apply_memory_format, chosen_bfloat16, prepare_cpu, use_requested_threads
from nnunetv2_crln.training.precision import autocast_context
from nnunetv2_crln.utilities.light_pools import light_validation


class SupervisedBaseline:
    """Mixin that gives nnU-Net's own trainer the arithmetic, layout and allocator of the semi-supervised trainers.

    Comparing methods and their times on a CPU is only fair if all of them compute in the same way.
    """

    def initialize(self: Any) -> None:
        """Build the network, and choose the number of threads and the memory layout of the weights."""
        use_requested_threads(self.device)
        super().initialize()  # type: ignore[misc]
        settings = CRLNSettings.from_plans(self.configuration_manager.configuration)
        self.bfloat16 = self.device.type == "cpu" and chosen_bfloat16(settings.cpu_bfloat16)
        ndim = len(self.configuration_manager.patch_size)
        apply_memory_format(self.network, settings.memory_format, self.device, ndim)

    def on_train_start(self: Any) -> None:
        """Start as usual, and keep freed memory."""
        super().on_train_start()  # type: ignore[misc]
        prepare_cpu(self.device, self.bfloat16, self.print_to_log_file)

    def train_step(self: Any, batch: dict) -> dict:
        """Train one step in the chosen arithmetic."""
        with self._autocast_on_cpu():
            return super().train_step(batch)  # type: ignore[misc]

    def validation_step(self: Any, batch: dict) -> dict:
        """Validate one batch in the chosen arithmetic."""
        with self._autocast_on_cpu():
            return super().validation_step(batch)  # type: ignore[misc]

    def perform_actual_validation(self: Any, save_probabilities: bool = False) -> None:
        """Validate on whole cases with no more worker processes than pay."""
        with light_validation():
            super().perform_actual_validation(save_probabilities)  # type: ignore[misc]

    def _autocast_on_cpu(self: Any) -> contextlib.AbstractContextManager:
        # On a GPU, nnU-Net's own step does so.
        return autocast_context(self.device, self.bfloat16) if self.device.type == "cpu" else contextlib.nullcontext()
