"""Override nnU-Net's hooks so that a training on a CPU computes as the settings say."""

from __future__ import annotations

import contextlib
from typing import Any

from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.cpu import (
    apply_memory_format,
    chosen_bfloat16,
    has_stage_of_depth_two,
    prepare_cpu,
    use_requested_threads,
)
from nnunetv2_crln.training.precision import autocast_context
from nnunetv2_crln.utilities.wrapped_network import unwrap


class CPUArithmetic:
    """Mixin for nnU-Net's trainer: number of threads, arithmetic, memory layout and allocator of a training on a CPU.

    Semi-supervised trainers and their supervised baselines share it: comparing methods and their times is only fair if
    all of them compute in the same way.

    Attributes:
        settings: Hyper-parameters; they must be there before :meth:`initialize`.
        bfloat16: True if the steps run in bfloat16 on a CPU.
    """

    settings: CRLNSettings
    bfloat16: bool

    def initialize(self: Any) -> None:
        """Build the network, and choose the number of threads, the arithmetic and the memory layout of the weights."""
        use_requested_threads(self.device)
        super().initialize()  # type: ignore[misc]
        patch_size = self.configuration_manager.patch_size
        architecture = self.configuration_manager.configuration.get("architecture", {})
        strides = architecture.get("arch_kwargs", {}).get("strides", ())
        safe = not has_stage_of_depth_two(patch_size, strides)
        self.bfloat16 = self.device.type == "cpu" and chosen_bfloat16(self.settings.cpu_bfloat16, safe)
        apply_memory_format(unwrap(self.network), self.settings.memory_format, self.device, len(patch_size))

    def on_train_start(self: Any) -> None:
        """Start as usual, and keep freed memory."""
        super().on_train_start()  # type: ignore[misc]
        prepare_cpu(self.device, self.bfloat16, self.print_to_log_file)

    def autocast(self: Any) -> contextlib.AbstractContextManager:
        """Return the autocast context of a training step."""
        return autocast_context(self.device, self.bfloat16)
