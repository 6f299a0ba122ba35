"""Choose arithmetic, memory layout and allocator for training on a CPU."""

import contextlib
import ctypes
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from nnunetv2_crln.utilities.processes import is_distributed

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


def has_stage_of_depth_two(patch_size: Sequence[int], strides: Sequence[int | Sequence[int]]) -> bool:
    """Tell whether a stage of a 3D network sees images whose first axis has length 2.

    For these torch 2.15 computes the bfloat16 weight gradients of 3 x 3 x 3 convolutions from memory that nobody has
    written (oneDNN, on processors with bfloat16 instructions): they are wrong, and sometimes not finite.

    Args:
        patch_size: Patch in voxels, (2 or 3,).
        strides: Stride of each stage of the encoder, one number or one for each axis.

    Returns:
        True if there is such a stage.
    """
    depth, found = patch_size[0], False
    for stride in strides:
        depth = -(-depth // (stride if isinstance(stride, int) else stride[0]))
        found |= depth == 2
    return found and len(patch_size) == 3


def chosen_bfloat16(setting: str | bool, safe: bool = True) -> bool:
    """Decide ``"cpu_bfloat16": "auto"`` for this processor; return any other value of the setting unchanged.

    Args:
        setting: Value of the setting.
        safe: False where torch's bfloat16 gradients are wrong, see :func:`has_stage_of_depth_two`.

    Returns:
        True to compute in bfloat16.
    """
    return safe and has_bfloat16_instructions() if setting == "auto" else bool(setting)


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


def apply_memory_format(network: nn.Module, setting: str, device: torch.device, ndim: int) -> None:
    """Store the weights of convolutions as the setting says, so that their results get the same layout.

    Args:
        network: Network, changed in place.
        setting: Value of ``"memory_format"``.
        device: Device of the training.
        ndim: Number of spatial dimensions.
    """
    if chosen_channels_last(setting, device, ndim):
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
