"""Format metrics and p values in the same way everywhere."""

from __future__ import annotations

import math
from collections.abc import Mapping

from nnunetv2_crln.evaluation.metrics import Metric

DASH = "–"


def metric_value(metric: Metric, value: float, unknown: str = DASH) -> str:
    """Format the value of a metric in its unit.

    Args:
        metric: The metric.
        value: Stored value; NaN if undefined.
        unknown: Text for NaN.

    Returns:
        Text with two decimals.
    """
    return unknown if math.isnan(value) else f"{value * metric.factor:.2f}"


def metric_with_sd(metric: Metric, values: Mapping, unknown: str = DASH) -> str:
    """Format mean and standard deviation of a metric.

    Args:
        metric: The metric.
        values: Statistics of the metric: ``mean`` and ``sd``.
        unknown: Text for NaN.

    Returns:
        Text such as ``89.49 ± 0.59``.
    """
    return f"{metric_value(metric, values['mean'], unknown)} ± {metric_value(metric, values['sd'], unknown)}"


NO_INTERVAL = "not available"
"""Text in the place of an interval that needs more cases."""


def p_value(value: float, unknown: str = DASH) -> str:
    """Format a p value; one that would be rounded to zero is given as a bound.

    Args:
        value: The p value; NaN if undefined.
        unknown: Text for NaN.

    Returns:
        Text with three decimals, or ``<0.001``.
    """
    if math.isnan(value):
        return unknown
    return "<0.001" if value < 0.001 else f"{value:.3f}"
