"""Format numbers of the report."""

from __future__ import annotations

import math
from collections.abc import Mapping

from nnunetv2_crln.evaluation.metrics import Metric
from nnunetv2_crln.raw_dataset.classes import class_values


def plain_number(value: float | None, digits: int = 3) -> str:
    """Format a number.

    Args:
        value: Number, or None or NaN if unknown.
        digits: Number of decimals.

    Returns:
        Text; a dash if unknown.
    """
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def metric_value(metric: Metric, value: float) -> str:
    """Format the value of a metric in its unit.

    Args:
        metric: The metric.
        value: Stored value; NaN if undefined.

    Returns:
        Text; a dash if undefined.
    """
    return "–" if math.isnan(value) else f"{value * metric.factor:.2f}"


def metric_with_sd(metric: Metric, values: Mapping) -> str:
    """Format mean and standard deviation of a metric, and the number of undefined values.

    Args:
        metric: The metric.
        values: Statistics of the metric: ``mean``, ``sd`` and ``n_nan``.

    Returns:
        Text such as ``89.49 ± 0.59 (1)``.
    """
    undefined = f" ({values['n_nan']})" if values["n_nan"] else ""
    return f"{metric_value(metric, values['mean'])} ± {metric_value(metric, values['sd'])}{undefined}"


def p_value(value: float) -> str:
    """Format a p value."""
    if math.isnan(value):
        return "–"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def class_name(dataset: Mapping, key: str) -> str:
    """Find the name of a class or region, which nnU-Net's summaries identify by its values.

    Args:
        dataset: Content of dataset.json.
        key: Value of the class, or values of the region, as nnU-Net writes them: ``"1"`` or ``"(1, 2)"``.

    Returns:
        Its name; the key itself if dataset.json does not list it.
    """
    names = {str(values): name for name, values in class_values(dataset).items()}
    return names.get(key, names.get(f"({key},)", key))
