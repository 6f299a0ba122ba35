"""Check that a device is there before work begins that needs it."""

from __future__ import annotations

import torch

from nnunetv2_crln.errors import UserError


def available_device(name: str) -> torch.device:
    """Return a device that torch can use here.

    Args:
        name: Value of ``-device``: ``cuda``, ``cpu`` or ``mps``.

    Returns:
        The device.

    Raises:
        UserError: This computer has no such device, or torch does not see it.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "-device cuda: no CUDA device is available. Use -device cpu, or mps on a Mac; if there is a GPU, "
            "nnUNetv2_crln_doctor looks for the reason."
        )
    if name == "mps" and not torch.backends.mps.is_available():
        raise UserError("-device mps: no GPU of Apple is available. Use -device cpu, or cuda with an NVIDIA GPU.")
    return torch.device(name)
