"""Arrange the curves of a training in panels, and read them from the lists of numbers in its log."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nnunetv2_crln.layout import CURVE_PREFIX


@dataclass(frozen=True)
class Line:
    """One curve of a panel; ``key`` is its name in the logger."""

    key: str
    label: str


@dataclass(frozen=True)
class Panel:
    """Panel of curves with the same unit.

    Attributes:
        title: Title of the panel.
        lines: Curves; those without a finite value are omitted.
        share: True if all values are in [0, 1].
    """

    title: str
    lines: tuple[Line, ...]
    share: bool = False


def _ours(curve: str, label: str) -> Line:
    return Line(f"{CURVE_PREFIX}{curve}", label)


PANELS = (
    Panel(
        "Loss on labelled patches",
        (_ours("supervised", "network"), _ours("relationship_map", "relationship map M")),
    ),
    Panel("Consistency loss on unlabelled patches", (_ours("consistency", "consistency"),)),
    Panel("Cooperative positive supervision", (_ours("cps", "CPS loss"),)),
    Panel("Correction parameter μ (1: no rectification)", (_ours("mu", "μ"),), share=True),
    Panel(
        "Share of confident voxels, training patches",
        (_ours("confident_raw", "before rectification"), _ours("confident", "after rectification")),
        share=True,
    ),
    Panel(
        "Mean confidence, monitored cases",
        (
            _ours("monitor_confidence_raw", "before rectification"),
            _ours("monitor_confidence", "after rectification"),
        ),
        share=True,
    ),
    Panel(
        "Voxels of the monitored cases",
        (
            _ours("monitor_foreground", "share of foreground"),
            _ours("monitor_changed", "share changed by rectification"),
        ),
    ),
    Panel(
        "Dice of pseudo labels (hidden labels)",
        (
            _ours("pseudo_dice_raw", "before rectification"),
            _ours("pseudo_dice", "after rectification"),
            _ours("pseudo_dice_map", "relationship map M alone"),
        ),
        share=True,
    ),
    Panel(
        "Validation Dice (nnU-Net's pseudo Dice)",
        (Line("mean_fg_dice", "epoch"), Line("ema_fg_dice", "moving average")),
        share=True,
    ),
)


def finite_points(logging: Mapping[str, Sequence], key: str) -> tuple[list[int], list[float]]:
    """Return a curve without the epochs in which it was not measured.

    Args:
        logging: Values per epoch of each key of nnU-Net's logger.
        key: Key of the curve.

    Returns:
        Epochs (from 0) and values.
    """
    points = [(epoch, float(value)) for epoch, value in enumerate(logging.get(key, ())) if _is_finite(value)]
    return [epoch for epoch, _ in points], [value for _, value in points]


def drawable(logging: Mapping[str, Sequence]) -> list[Panel]:
    """Return the panels with at least one finite value, reduced to the curves that have one."""
    panels = []
    for panel in PANELS:
        lines = tuple(line for line in panel.lines if finite_points(logging, line.key)[0])
        if lines:
            panels.append(Panel(panel.title, lines, panel.share))
    return panels


def _is_finite(value: object) -> bool:
    try:
        return math.isfinite(value)  # type: ignore[arg-type]
    except TypeError:
        return False
