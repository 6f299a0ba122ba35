"""Format evaluations as text for the terminal, Markdown for a paper or README, CSV for a statistics program."""

import math
from collections.abc import Mapping

from nnunetv2_crln.errors import listing
from nnunetv2_crln.evaluation.formatting import NO_INTERVAL, metric_value, metric_with_sd, p_value
from nnunetv2_crln.evaluation.metrics import METRICS, Metric
from nnunetv2_crln.utilities.files import csv_text

ASCII_DASH = "-"  # for terminals without other dashes
CSV_MARK, MARKDOWN_MARK = "predictions_folder,case,class,", "standard deviation by bootstrap ("
"""Texts near the beginning of every table of that kind, by which it is told from other files."""
FOREGROUND_MEAN = "foreground mean"


def terminal_table(summary: Mapping) -> str:
    """Format an evaluation as tables of 80 columns, with its comparison if it has one.

    Args:
        summary: Result of ``evaluate_folder``, optionally with that of ``compare_evaluations`` as ``comparison``.
    """
    lines = [f"{summary['num_cases']} cases of {summary['predictions_folder']}"]
    if summary["missing_predictions"]:
        lines.append(f"{len(summary['missing_predictions'])} label(s) without a prediction were left out")
    for name, metrics in _rows(summary, "mean"):
        cells = [_mean_cells(metric, metrics[metric.key]) for metric in METRICS]
        lines += ["", name, *_aligned([_MEAN_HEADER, *cells])]
    resamples = summary["bootstrap"]["resamples"]
    lines += ["", f"± and interval: bootstrap, {resamples} resamples. NaN: empty label or prediction."]
    lines += _empty_notes(summary)
    if "comparison" in summary:
        lines += ["", *_comparison_lines(summary["comparison"])]
    return "\n".join(lines) + "\n"


def markdown_table(summary: Mapping) -> str:
    """Format the means as a Markdown table, one row per class, one column per metric; a second for the comparison."""
    header = ["Class", *(f"{metric.title} ({metric.unit})" for metric in METRICS), "Cases"]
    rows = []
    for name, metrics in _rows(summary, "mean"):
        cells = [_mean_with_spread(metric, metrics[metric.key], count_nan=True) for metric in METRICS]
        rows.append([name, *cells, str(summary["num_cases"])])
    resamples = summary["bootstrap"]["resamples"]
    note = f"Mean ± standard deviation by bootstrap ({resamples} resamples); (n NaN): undefined values left out."
    text = _markdown(header, rows) + f"\n{note}\n"
    if "comparison" in summary:
        text += "\n" + _markdown_comparison(summary["comparison"])
    return text


def csv_table(summary: Mapping) -> str:
    """Format each case and class as one line of CSV, in the stored units; undefined values are empty cells."""
    keys = [*(metric.key for metric in METRICS), "n_ref", "n_pred"]
    rows = [["predictions_folder", "case", "class", *keys]]
    compared = [summary["comparison"]["other"]] if "comparison" in summary else []
    for evaluation in [summary, *compared]:
        for case, entry in evaluation["cases"].items():
            for name, metrics in entry["metrics"].items():
                values = ("" if math.isnan(metrics[key]) else metrics[key] for key in keys)
                rows.append([evaluation["predictions_folder"], case, name, *values])
    return csv_text(rows)


_MEAN_HEADER = ["", "mean ± sd", "95 % interval", "median", "cases", "NaN"]
_DIFFERENCE_HEADER = ["", "A", "B", "A - B", "95 % interval", "p", "cases"]


def _rows(section_of: Mapping, section: str) -> list[tuple[str, Mapping]]:
    """Return the rows of the classes, then the mean over them if there are several."""
    rows = list(section_of[section].items())
    return rows if len(rows) == 1 else [*rows, (FOREGROUND_MEAN, section_of["foreground_mean"])]


def _mean_cells(metric: Metric, values: Mapping) -> list[str]:
    return [
        f"{metric.title} [{metric.unit}]",
        _mean_with_spread(metric, values),
        _interval(metric, values),
        metric_value(metric, values["median"], ASCII_DASH),
        str(values["n"]),
        str(values["n_nan"]),
    ]


def _mean_with_spread(metric: Metric, values: Mapping, count_nan: bool = False) -> str:
    undefined = f" ({values['n_nan']} NaN)" if count_nan and values["n_nan"] else ""
    return f"{metric_with_sd(metric, values, ASCII_DASH)}{undefined}"


def _interval(metric: Metric, values: Mapping) -> str:
    if math.isnan(values["ci_low"]):
        return NO_INTERVAL
    low, high = (metric_value(metric, values[key], ASCII_DASH) for key in ("ci_low", "ci_high"))
    return f"{low} to {high}"


def _empty_notes(summary: Mapping) -> list[str]:
    """List the cases with NaN: an empty prediction is a failure that the means of distances cannot show."""
    notes = []
    for name in summary["classes"]:
        for key, what in (("n_ref", "label"), ("n_pred", "prediction")):
            cases = [case for case, entry in summary["cases"].items() if not entry["metrics"][name][key]]
            if cases:
                notes.append(f"{name}: {len(cases)} empty {what}(s): {listing(cases)}")
    return notes


def _comparison_lines(comparison: Mapping) -> list[str]:
    lines = [f"A: {comparison['predictions_a']}", f"B: {comparison['predictions_b']}"]
    if comparison["unpaired_cases"]:
        lines.append(f"{len(comparison['unpaired_cases'])} case(s) that only one of them has were left out")
    for name, metrics in _rows(comparison, "difference"):
        cells = [_difference_cells(metric, metrics[metric.key]) for metric in METRICS]
        lines += ["", name, *_aligned([_DIFFERENCE_HEADER, *cells])]
    return [*lines, "", _comparison_note(comparison), *(f"B: {note}" for note in _empty_notes(comparison["other"]))]


def _difference_cells(metric: Metric, values: Mapping) -> list[str]:
    return [
        f"{metric.title} [{metric.unit}]",
        metric_value(metric, values["mean_a"], ASCII_DASH),
        metric_value(metric, values["mean_b"], ASCII_DASH),
        metric_value(metric, values["difference"], ASCII_DASH),
        _interval(metric, values),
        p_value(values["p_value"], ASCII_DASH),
        str(values["n"]),
    ]


def _comparison_note(comparison: Mapping) -> str:
    return f"Interval: paired bootstrap, {comparison['resamples']} resamples. p: Wilcoxon signed-rank, two-sided."


def _markdown_comparison(comparison: Mapping) -> str:
    rows = [
        [name, *_difference_cells(metric, metrics[metric.key])]
        for name, metrics in _rows(comparison, "difference")
        for metric in METRICS
    ]
    folders = f"A: `{comparison['predictions_a']}`, B: `{comparison['predictions_b']}`. {_comparison_note(comparison)}"
    return _markdown(["Class", "Metric", *_DIFFERENCE_HEADER[1:]], rows) + f"\n{folders}\n"


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  " + row[0].ljust(widths[0]) + "".join("  " + cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))
        for row in rows
    ]
