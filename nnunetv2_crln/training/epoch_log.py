"""The curves that CRLN adds to nnU-Net's epoch log."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nnunetv2_crln.layout import CURVE_PREFIX
from nnunetv2_crln.reporting.curves import MONITORED
from nnunetv2_crln.training.numerical_safety import finite_mean

CURVES = ("supervised", "relationship_map", "consistency", "cps", "mu", "confident_raw", "confident", "skipped_steps")
LOGGED = tuple(f"{CURVE_PREFIX}{curve}" for curve in (*CURVES, *MONITORED))


def complete_log(logging: MutableMapping[str, list], epochs: int) -> None:
    """Add our missing keys to a log: nnU-Net wants one value per key and epoch.

    Args:
        logging: The logger's dictionary, changed in place. The past of a missing key is unknown, so NaN.
        epochs: Epochs finished.
    """
    for key in LOGGED:
        values = logging.setdefault(key, [])
        values.extend([math.nan] * (epochs - len(values)))


def means_of_epoch(outputs: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
    """Average what the steps of an epoch returned; skipped steps are excluded from the mean.

    This is the only place where the losses leave the device.

    Args:
        outputs: Scalars by name, one mapping a step, all with the same names.
    """
    names = list(outputs[0])
    values = torch.stack([torch.stack([output[name].float() for output in outputs]) for name in names], 1)
    return dict(zip(names, finite_mean(values).tolist(), strict=True))


def log_losses(logger: Any, epoch: int, means: Mapping[str, float], print_line: Callable[[str], None]) -> None:
    """Log the curves of the training steps and print them in one line.

    Args:
        logger: nnU-Net's.
        epoch: From 0.
        means: Values by curve; curves that are missing have no meaning for this trainer.
        print_line: Prints into the training's log.
    """
    if means.get("skipped_steps"):
        print_line(f"WARNING: {means['skipped_steps']:g} steps of this epoch had a non-finite gradient")
    for curve in CURVES:
        logger.log(f"{CURVE_PREFIX}{curve}", means.get(curve, math.nan), epoch)
    shown = [curve for curve in CURVES if curve in means and curve != "skipped_steps"]
    print_line("CRLN " + ", ".join(f"{curve} {means[curve]:.4g}" for curve in shown))


def log_monitored(logger: Any, epoch: int, values: Mapping[str, float]) -> None:
    """Log what the monitor measured after an epoch.

    Args:
        logger: nnU-Net's.
        epoch: From 0.
        values: By name in :data:`MONITORED`; what is missing was not measured.
    """
    for curve in MONITORED:
        value = values.get(curve, math.nan)
        # nnU-Net's own log needs every epoch; a chart of NaN in W&B helps nobody.
        destination = logger if math.isfinite(value) else logger.local_logger
        destination.log(f"{CURVE_PREFIX}{curve}", value, epoch)
