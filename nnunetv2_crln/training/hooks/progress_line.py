"""Print an estimate of the training time after the first steps, and one line per epoch."""

from __future__ import annotations

import contextlib
import functools
import locale
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import pairwise
from statistics import median
from typing import Any

import torch

from nnunetv2_crln.layout import CURVE_PREFIX
from nnunetv2_crln.training.epoch_log import LOSSES
from nnunetv2_crln.utilities.durations import duration
from nnunetv2_crln.utilities.memory import peak_ram_gib
from nnunetv2_crln.utilities.share_of_time import ShareOfTime

WARM_UP_STEPS = 2
TIMED_STEPS = 8
VALIDATION_SHARE = 1 / 3
"""Cost of a validation step in training steps, because it has no backward pass."""

LONG_ON_A_CPU = 3600
"""Seconds above which a hint how to shorten the training is printed."""

SHORT_TRAINING_EPOCHS = 20
"""Epochs up to which a training is short already."""

PLOTTING_SHARE = 0.05
"""Share of the time that nnU-Net's drawing of progress.png may take; with short epochs not every epoch gets one."""

EPOCHS_FOR_THE_PACE = 5


def clock(timestamp: float, now: float) -> str:
    """Format a future time, with its date unless it is today.

    Args:
        timestamp: Time to format, in seconds.
        now: Present time, in seconds.

    Returns:
        Text such as ``14:05`` or ``Tue 03 Mar 14:05``.
    """
    same_day = time.localtime(timestamp)[:3] == time.localtime(now)[:3]
    return time.strftime("%H:%M" if same_day else "%a %d %b %H:%M", time.localtime(timestamp))


def epoch_line(logging: Mapping[str, Sequence], epoch: int, num_epochs: int, now: float) -> str:
    """Describe a finished epoch in one line.

    Args:
        logging: Values per epoch of each key of nnU-Net's logger.
        epoch: Number of the finished epoch, from 0.
        num_epochs: Number of epochs of the whole training.
        now: Present time in seconds; drawing and saving after an epoch count too.

    Returns:
        Epoch k of n, losses, pseudo Dice, duration, time left and expected end.
    """
    moments = [*logging["epoch_start_timestamps"][: epoch + 1], now][-EPOCHS_FOR_THE_PACE - 1 :]
    # The median, because a training that was continued has a gap.
    left = (num_epochs - epoch - 1) * median(end - start for start, end in pairwise(moments))
    dice = ", ".join(f"{value:.3f}" for value in logging["dice_per_class_or_region"][epoch])
    parts = [
        f"loss {logging['train_losses'][epoch]:.4f}{_terms(logging, epoch)}",
        f"validation loss {logging['val_losses'][epoch]:.4f}",
        f"pseudo Dice {logging['mean_fg_dice'][epoch]:.3f} ({dice})",
    ]
    if logging["ema_fg_dice"][epoch] >= max(logging["ema_fg_dice"][: epoch + 1]):
        parts.append("best so far")
    parts.append(duration(moments[-1] - moments[-2]))
    if left:
        parts.append(f"{duration(left)} left, until {clock(now + left, now)}")
    return f"Epoch {epoch + 1} of {num_epochs}: {', '.join(parts)}"


def _terms(logging: Mapping[str, Sequence], epoch: int) -> str:
    """Return the terms of CRLN's loss in brackets; nothing for other trainers."""
    values = {name: logging.get(f"{CURVE_PREFIX}{name}", ()) for name in LOSSES}
    known = [f"{name} {series[epoch]:.3f}" for name, series in values.items() if len(series) > epoch]
    shown = [term for term in known if not term.endswith("nan")]
    return f" ({', '.join(shown)})" if shown else ""


def memory_in_use(device: torch.device) -> str:
    """Describe the largest memory that a training has used so far; empty if the system does not report it."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        return f"{torch.cuda.max_memory_reserved(device) / 2**30:.1f} of {total / 2**30:.1f} GiB of GPU memory"
    peak = peak_ram_gib()
    return "" if math.isnan(peak) else f"{peak:.1f} GiB of RAM"


def steps_in_epoch(trainer: Any) -> float:
    """Return the length of an epoch with its validation, in training steps."""
    return trainer.num_iterations_per_epoch + VALIDATION_SHARE * trainer.num_val_iterations_per_epoch


class ProgressLine:
    """Mixin for any nnU-Net trainer: the console shows a short progress report, the log file everything.

    A trainer that does not call nnU-Net's ``train_step`` calls :meth:`after_step` itself.
    """

    _on_console = True
    _steps_here = 0
    _timing_since = math.nan

    def print_to_log_file(
        self: Any, *args: Any, also_print_to_console: bool = True, add_timestamp: bool = True
    ) -> None:
        """Print into the log file, and on the console unless the progress line replaces nnU-Net's message.

        Args:
            *args: Objects to print.
            also_print_to_console: Print on the console too.
            add_timestamp: Begin with the time.
        """
        # nnU-Net opens the log in the encoding of the system, and a character that it lacks must not end a training.
        encoding = locale.getpreferredencoding(False)
        printable = [str(arg).encode(encoding, "replace").decode(encoding) for arg in args]
        super().print_to_log_file(  # type: ignore[misc]
            *printable, also_print_to_console=also_print_to_console and self._on_console, add_timestamp=add_timestamp
        )

    @contextlib.contextmanager
    def _log_file_only(self: Any) -> Iterator[None]:
        self._on_console = False
        try:
            yield
        finally:
            self._on_console = True

    def print_plans(self: Any) -> None:
        """Print the plans into the log file."""
        with self._log_file_only():
            super().print_plans()  # type: ignore[misc]
        self.print_to_log_file(f"Plans, settings and every detail: {self.log_file}")

    def plot_network_architecture(self: Any) -> None:
        """Plot the network if hiddenlayer is installed; otherwise nnU-Net would only print that it is missing."""
        if find_spec("hiddenlayer"):
            super().plot_network_architecture()  # type: ignore[misc]

    def on_train_epoch_start(self: Any) -> None:
        """Print the epoch's number and learning rate only to the log file, and start to time the steps."""
        if self._steps_here < WARM_UP_STEPS + TIMED_STEPS:
            self._steps_here = 0  # the time between two epochs must not count
        with self._log_file_only():
            super().on_train_epoch_start()  # type: ignore[misc]

    def train_step(self: Any, batch: dict) -> dict:
        """Do nnU-Net's step and count it."""
        result = super().train_step(batch)  # type: ignore[misc]
        self.after_step()
        return result

    def after_step(self: Any) -> None:
        """Count a step of this process; after the first few steps, print how long the training will take."""
        self._steps_here += 1
        if self._steps_here not in (WARM_UP_STEPS, WARM_UP_STEPS + TIMED_STEPS) or self.local_rank != 0:
            return
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # twice in a training
        now = time.time()
        if self._steps_here == WARM_UP_STEPS:
            self._timing_since = now
            return
        for line in self._estimate((now - self._timing_since) / TIMED_STEPS, now):
            self.print_to_log_file(line)

    def _estimate(self: Any, seconds_per_step: float, now: float) -> list[str]:
        steps = steps_in_epoch(self)
        epochs = self.num_epochs - self.current_epoch
        total = epochs * steps * seconds_per_step
        lines = [
            f"About {duration(total)} for {epochs} epochs, until {clock(now + total, now)} "
            f"({duration(seconds_per_step)} a step, {duration(steps * seconds_per_step)} an epoch)"
        ]
        if memory := memory_in_use(self.device):
            lines.append(f"Memory so far: {memory}")
        if self.device.type == "cpu" and total > LONG_ON_A_CPU and self.num_epochs > SHORT_TRAINING_EPOCHS:
            lines.append(
                "Shorter on a CPU: a trainer with fewer epochs (-tr nnUNetTrainer_CRLN_20epochs), or small networks: "
                "nnUNetv2_crln_plan_and_preprocess … --small, then nnUNetv2_train … -p nnUNetPlans_small "
                "-tr nnUNetTrainer_CRLN_short"
            )
        return lines

    def on_epoch_end(self: Any) -> None:
        """Print one line about the epoch instead of nnU-Net's four."""
        epoch = self.current_epoch
        with self._log_file_only(), self._plots_now_and_then():
            super().on_epoch_end()  # type: ignore[misc]
        logging = self.logger.local_logger.my_fantastic_logging
        self.print_to_log_file(epoch_line(logging, epoch, self.num_epochs, time.time()))

    @functools.cached_property
    def _plotting(self) -> ShareOfTime:
        return ShareOfTime(PLOTTING_SHARE)

    @contextlib.contextmanager
    def _plots_now_and_then(self: Any) -> Iterator[None]:
        """Skip nnU-Net's progress.png if the last one was too recent for its cost, but never the last of a training."""
        plot = self.logger.plot_progress_png
        last = self.current_epoch == self.num_epochs - 1

        def plot_if_due(*arguments: Any) -> None:
            self._plotting.run(lambda: plot(*arguments), always=last)

        self.logger.plot_progress_png = plot_if_due
        try:
            yield
        finally:
            del self.logger.plot_progress_png
