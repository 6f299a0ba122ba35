"""Add the curves of CRLN to nnU-Net's epoch log."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnunetv2_crln.layout import CURVE_PREFIX, MONITORED
from nnunetv2_crln.training.method.gradient_norms import GRADIENTS

LOSSES = ("supervised", "relationship_map", "consistency", "cps")
CURVES = (*LOSSES, "mu", "confident_raw", "confident", "skipped_steps", *GRADIENTS)
LOGGED = tuple(f"{CURVE_PREFIX}{curve}" for curve in (*CURVES, *MONITORED))


def complete_log(logging: MutableMapping[str, list], epochs: int) -> None:
    """Add the plugin's missing keys to a log, because nnU-Net requires one value per key and epoch.

    Args:
        logging: Dictionary of the logger, changed in place; the unknown past of a missing key is NaN.
        epochs: Number of finished epochs.
    """
    for key in LOGGED:
        values = logging.setdefault(key, [])
        values.extend([math.nan] * (epochs - len(values)))


def with_end_of_epoch(logging: Mapping[str, list], epochs: int) -> dict[str, list]:
    """Complete the times of a log, because nnU-Net notes the end of an epoch after its best network is saved.

    Args:
        logging: Dictionary of the logger.
        epochs: Number of finished epochs.

    Returns:
        The log; an epoch without an end has ended now.
    """
    ends = logging.get("epoch_end_timestamps", [])
    return {**logging, "epoch_end_timestamps": [*ends, *[time.time()] * (epochs - len(ends))]}


def means_of_epoch(outputs: Sequence[Mapping[str, Tensor | np.ndarray | float]]) -> dict[str, float]:
    """Average the outputs of the steps of an epoch; skipped steps are excluded from the mean.

    This is the only place where the losses leave the device.

    Args:
        outputs: Scalar tensors by name, one mapping per step, all with the same names. Those of a trainer that has its
            own ``train_step`` may be arrays and numbers, as in nnU-Net.

    Returns:
        Means by name.
    """
    names = list(outputs[0])
    series = [torch.stack([torch.as_tensor(output[name]).float() for output in outputs]).cpu() for name in names]
    return dict(zip(names, finite_mean(torch.stack(series, 1)).tolist(), strict=True))


def log_losses(logger: Any, epoch: int, means: Mapping[str, float], print_line: Callable[[str], None]) -> None:
    """Log the curves of the training steps, and tell of steps that were skipped.

    Args:
        logger: nnU-Net's logger.
        epoch: Epoch, from 0.
        means: Values by curve; missing curves do not apply to this trainer.
        print_line: Function that prints into the training's log.
    """
    if means.get("skipped_steps"):
        print_line(
            f"Skipped steps in this epoch, for a non-finite gradient: {means['skipped_steps']:g} (with mixed precision "
            "one now and then is normal)"
        )
    for curve in CURVES:
        _log(logger, curve, means.get(curve, math.nan), epoch)


def log_monitored(logger: Any, epoch: int, values: Mapping[str, float]) -> None:
    """Log the measurements of the monitor after an epoch.

    Args:
        logger: nnU-Net's logger.
        epoch: Epoch, from 0.
        values: Values by name in :data:`MONITORED`; missing ones were not measured.
    """
    for curve in MONITORED:
        _log(logger, curve, values.get(curve, math.nan), epoch)


def _log(logger: Any, curve: str, value: float, epoch: int) -> None:
    # nnU-Net's own log needs every epoch, but Weights & Biases should not get a chart of NaN.
    destination = logger if math.isfinite(value) else logger.local_logger
    destination.log(f"{CURVE_PREFIX}{curve}", value, epoch)


def finite_mean(values: Tensor) -> Tensor:
    """Average the finite values (N, ...) over axis 0; the result (...) is NaN where none is finite."""
    finite = torch.isfinite(values)
    return torch.where(finite, values, 0).sum(0) / finite.sum(0)
