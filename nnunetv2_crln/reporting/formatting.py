"""Format numbers of the report."""

from __future__ import annotations

import math
from collections.abc import Mapping

from nnunetv2_crln.evaluation.metrics import Metric


def plain_number(value: float | None, digits: int = 3) -> str:
    """Format a number; a dash stands for what is unknown."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def metric_value(metric: Metric, value: float) -> str:
    """Format the value of a metric in its unit."""
    return "–" if math.isnan(value) else f"{value * metric.factor:.2f}"


def metric_with_sd(metric: Metric, values: Mapping) -> str:
    """Format mean and standard deviation of a metric, and the number of undefined values."""
    undefined = f" ({values['n_nan']})" if values["n_nan"] else ""
    return f"{metric_value(metric, values['mean'])} ± {metric_value(metric, values['sd'])}{undefined}"


def p_value(value: float) -> str:
    """Format a p value."""
    if math.isnan(value):
        return "–"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def class_name(dataset: Mapping, key: str) -> str:
    """Return the name of a class; nnU-Net's summaries identify it by its value."""
    return next((name for name, value in dataset.get("labels", {}).items() if str(value) == key), key)
