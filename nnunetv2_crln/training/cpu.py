"""Choose arithmetic, memory layout and allocator for training on a CPU."""

import contextlib
import ctypes
import os
import platform
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.processes import is_distributed
from nnunetv2_crln.utilities.light_pools import light_validation

CPUINFO = Path("/proc/cpuinfo")
_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # x86 and ARM

# glibc's mallopt parameters (malloc.h), and values: free memory stays with the process, large blocks included.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_KEEP = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 2**28))


def has_bfloat16_instructions() -> bool:
    """Check whether this processor has instructions for bfloat16.

    Without such instructions torch converts back and forth, which is slower than float32.

    Returns:
        True if it has them; False if not, or if the system does not report it (not Linux).
    """
    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return not _BFLOAT16_FLAGS.isdisjoint(flags.partition(":")[2].split())


def chosen_bfloat16(setting: str | bool) -> bool:
    """Decide ``"cpu_bfloat16": "auto"`` for this processor; return any other value of the setting unchanged."""
    return has_bfloat16_instructions() if setting == "auto" else bool(setting)


def chosen_channels_last(setting: str, device: torch.device, ndim: int) -> bool:
    """Decide ``"memory_format": "auto"``: channels last for 3D on a CPU, as measured; never in distributed training.

    Args:
        setting: Value of the setting.
        device: Device of the training.
        ndim: Number of spatial dimensions.

    Returns:
        True for channels last.
    """
    # DistributedDataParallel has seen the weights by now: with another layout it averages their gradients wrongly.
    if is_distributed():
        return False
    return device.type == "cpu" and ndim == 3 if setting == "auto" else setting == "channels_last"


def to_channels_last(network: nn.Module, ndim: int) -> None:
    """Store the weights of convolutions with the channels innermost, so that their results get the same layout.

    Args:
        network: Network, changed in place.
        ndim: Number of spatial dimensions.
    """
    network.to(memory_format=torch.channels_last if ndim == 2 else torch.channels_last_3d)


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory for the tensors of the next step.

    By default glibc returns large blocks to the system at once, so that all pages are mapped and zeroed again in each
    step.

    Returns:
        True if the C library accepted this; False if it did not, or is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        taken = [libc.mallopt(parameter, value) == 1 for parameter, value in _KEEP]
        return all(taken)
    return False


def use_requested_threads(device: torch.device) -> None:
    """Use as many threads as ``OMP_NUM_THREADS`` says; nnU-Net takes one per core on a CPU, whatever it says.

    Trainings side by side whose threads outnumber the cores are many times slower than with one thread each.

    Args:
        device: Device of the training; nothing is done for others than the CPU.
    """
    requested = os.environ.get("OMP_NUM_THREADS", "")
    if device.type == "cpu" and requested.isdecimal() and int(requested):
        torch.set_num_threads(int(requested))


def prepare_cpu(device: torch.device, bfloat16: bool, print_line: Callable[[str], None]) -> None:
    """Keep freed memory in a training on a CPU, and say what was chosen.

    Args:
        device: Device of the training; nothing is done for others than the CPU.
        bfloat16: Whether the steps run in bfloat16.
        print_line: Prints a line into the training's log.
    """
    if device.type == "cpu":
        kept = keep_freed_memory()
        print_line(f"On the CPU: bfloat16 {bfloat16}, freed memory kept for the next step {kept}")


class FastOnCPU:
    """Mixin that gives nnU-Net's own trainer the arithmetic, layout and allocator of the semi-supervised trainers.

    Comparing methods and their times on a CPU is only fair if all of them compute in the same way.
    """

    def initialize(self) -> None:
        """Build the network, and choose the number of threads and the memory layout of the weights."""
        use_requested_threads(self.device)  # type: ignore[attr-defined]
        super().initialize()  # type: ignore[misc]
        settings = CRLNSettings.from_plans(self.configuration_manager.configuration)  # type: ignore[attr-defined]
        on_cpu = self.device.type == "cpu"  # type: ignore[attr-defined]
        self._bfloat16 = on_cpu and chosen_bfloat16(settings.cpu_bfloat16)
        ndim = len(self.configuration_manager.patch_size)  # type: ignore[attr-defined]
        if chosen_channels_last(settings.memory_format, self.device, ndim):  # type: ignore[attr-defined]
            to_channels_last(self.network, ndim)  # type: ignore[attr-defined]

    def on_train_start(self) -> None:
        """Keep freed memory, then start as usual."""
        if self.device.type == "cpu":  # type: ignore[attr-defined]
            keep_freed_memory()
        super().on_train_start()  # type: ignore[misc]

    def train_step(self, batch: dict) -> dict:
        """Train one step in the chosen arithmetic."""
        with self._arithmetic():
            return super().train_step(batch)  # type: ignore[misc]

    def validation_step(self, batch: dict) -> dict:
        """Validate one batch in the chosen arithmetic."""
        with self._arithmetic():
            return super().validation_step(batch)  # type: ignore[misc]

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Validate on whole cases with no more worker processes than pay."""
        with light_validation():
            super().perform_actual_validation(save_probabilities)  # type: ignore[misc]

    def _arithmetic(self) -> contextlib.AbstractContextManager:
        return torch.autocast("cpu", dtype=torch.bfloat16) if self._bfloat16 else contextlib.nullcontext()
