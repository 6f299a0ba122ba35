"""Format all methods of a comparison as one table."""

from __future__ import annotations

import math
from collections.abc import Mapping

from nnunetv2_crln.evaluation.formatting import DASH, NO_INTERVAL, metric_with_sd, p_value
from nnunetv2_crln.evaluation.metrics import METRICS

SHOWN = ("Dice", "HD95_mm")
TABLE_MARK = "Mean over the foreground classes"
"""Text in every table, by which it is told from other files."""


def comparison_table(evaluations: Mapping[str, Mapping], comparisons: Mapping[str, Mapping]) -> str:
    """Format a Markdown table with one row per method and the means over the foreground classes.

    Args:
        evaluations: Results of ``evaluate_folder`` by method, the baseline first.
        comparisons: Results of ``compare_evaluations`` with the baseline, by method.

    Returns:
        The table with a note.
    """
    baseline = next(iter(evaluations))
    metrics = [metric for metric in METRICS if metric.key in SHOWN]
    header = ["Method", "Cases"]
    for metric in metrics:
        header += [f"{metric.title} ({metric.unit})", f"{metric.title} − {baseline} [95 % interval], p"]
    rows = []
    for method, evaluation in evaluations.items():
        row = [method, str(evaluation["num_cases"])]
        for metric in metrics:
            values = evaluation["foreground_mean"][metric.key]
            row.append(DASH if math.isnan(values["mean"]) else metric_with_sd(metric, values))
            row.append(
                _difference(comparisons[method]["foreground_mean"][metric.key], metric.factor)
                if method in comparisons
                else ""
            )
        rows.append(row)
    lines = [" | ".join(header), " | ".join("---" for _ in header), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines) + (
        f"\n\n{TABLE_MARK} ± standard deviation by bootstrap. Differences: paired bootstrap over "
        "the cases; p: two-sided Wilcoxon signed-rank test. Both describe the choice of cases, not "
        "of a training's seed.\n"
    )


def _difference(test: Mapping, factor: float) -> str:
    if math.isnan(test["difference"]):
        return DASH
    low, high = test["ci_low"] * factor, test["ci_high"] * factor
    interval = NO_INTERVAL if math.isnan(low) else f"{low:+.2f}, {high:+.2f}"
    return f"{test['difference'] * factor:+.2f} [{interval}], {p_value(test['p_value'])}"
