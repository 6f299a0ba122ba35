"""Compare two models on the same cases."""

from collections.abc import Mapping

import numpy as np
from scipy import stats

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.evaluation.bootstrap import bootstrap_mean, mean_ignoring_nan, mean_of_class_means
from nnunetv2_crln.evaluation.folder import values_of
from nnunetv2_crln.evaluation.metrics import METRICS

# A 95 % interval depends on the outer 5 % of the resamples: 100 of them, as for the paper's sd, are too few.
COMPARISON_RESAMPLES = 10_000
FEWEST_FOR_A_TEST = 6
"""With five pairs a two-sided signed-rank test cannot fall below p = 2 / 2^5 = 0.06, whatever they are."""


def paired_difference(
    values_a: np.ndarray, values_b: np.ndarray, seed: int = 0, resamples: int = COMPARISON_RESAMPLES
) -> dict[str, float]:
    """Compute the difference of means, A − B, of two models on the same cases.

    The interval comes from a paired bootstrap (cases are drawn, each with both its values), the p-value from a
    two-sided Wilcoxon signed-rank test. Pairs with an undefined value are left out and counted.

    Args:
        values_a: One value per case, (cases,), or per case and class, (cases, classes).
        values_b: Values of the other model for the same cases in the same order, same shape.
        seed: Seed of the draws.
        resamples: Number of resamples.

    Returns:
        ``mean_a`` and ``mean_b`` over the pairs used, ``difference``, its bootstrap ``sd`` and 95 % interval ``ci_low``
        to ``ci_high``, ``wilcoxon_statistic``, ``p_value``, ``n`` (cases used), ``n_dropped`` (pairs left out). With
        classes, means are means of class means and the Wilcoxon test sees each case's mean difference.

    Raises:
        ValueError: The arrays differ in shape.

    Example:
        >>> result = paired_difference(np.array([0.9, 0.8, 0.7]), np.array([0.8, 0.7, 0.6]))
        >>> round(result["difference"], 3), round(result["p_value"], 3)
        (0.1, 0.25)
    """
    a, b = (np.asarray(values, dtype=float) for values in (values_a, values_b))
    if a.shape != b.shape:
        raise ValueError(f"A pair needs two values: shapes {a.shape} and {b.shape} differ.")
    a, b = (values[:, None] if values.ndim == 1 else values for values in (a, b))
    undefined = np.isnan(a) | np.isnan(b)
    a, b = np.where(undefined, np.nan, a), np.where(undefined, np.nan, b)
    difference = bootstrap_mean(a - b, resamples, seed)
    statistic, p_value = _wilcoxon(a - b)
    return {
        "mean_a": mean_of_class_means(a),
        "mean_b": mean_of_class_means(b),
        "difference": difference["mean"],
        **{key: difference[key] for key in ("sd", "ci_low", "ci_high")},
        "wilcoxon_statistic": statistic,
        "p_value": p_value,
        "n": difference["n"],
        "n_dropped": int(undefined.sum()),
    }


def compare_evaluations(
    summary_a: Mapping, summary_b: Mapping, seed: int = 0, resamples: int = COMPARISON_RESAMPLES
) -> dict:
    """Compare two results of :func:`~nnunetv2_crln.evaluation.folder.evaluate_folder`, A − B.

    Args:
        summary_a: First result.
        summary_b: Second result, for the same labels; cases that only one of them has are excluded and listed.
        seed: Seed of the draws.
        resamples: Number of resamples.

    Returns:
        ``predictions_a`` and ``predictions_b`` (folders), ``resamples``, ``seed``, ``num_cases``, ``unpaired_cases``,
        ``difference`` (:func:`paired_difference` by class and metric), ``foreground_mean`` (:func:`paired_difference`
        by metric) and ``other`` (the second result).

    Raises:
        UserError: The classes differ, or the results have no case in common.
    """
    if summary_a["classes"] != summary_b["classes"]:
        raise UserError(
            f"The evaluations have different classes: {summary_a['classes']} and {summary_b['classes']}. "
            f"Evaluate both folders with the same dataset.json."
        )
    cases = [case for case in summary_a["cases"] if case in summary_b["cases"]]
    if not cases:
        raise UserError(
            f"{summary_a['predictions_folder']} and {summary_b['predictions_folder']} have no case in common. "
            f"Compare predictions of the same cases."
        )

    def compared(names: list[str]) -> dict[str, dict]:
        return {
            metric.key: paired_difference(
                values_of(summary_a, metric.key, names, cases),
                values_of(summary_b, metric.key, names, cases),
                seed,
                resamples,
            )
            for metric in METRICS
        }

    names = list(summary_a["classes"])
    return {
        "predictions_a": summary_a["predictions_folder"],
        "predictions_b": summary_b["predictions_folder"],
        "resamples": resamples,
        "seed": seed,
        "num_cases": len(cases),
        "unpaired_cases": sorted(set(summary_a["cases"]) ^ set(summary_b["cases"])),
        "difference": {name: compared([name]) for name in names},
        "foreground_mean": compared(names),
        "other": summary_b,
    }


def _wilcoxon(differences: np.ndarray) -> tuple[float, float]:
    """Return the statistic and the two-sided p-value for the cases' mean differences, (cases, classes)."""
    per_case = mean_ignoring_nan(differences, axis=1)
    per_case = per_case[~np.isnan(per_case)]
    if not per_case.size:
        return float("nan"), float("nan")
    if not per_case.any():
        # The test drops equal pairs, and SciPy then divides zero by zero. Equal models do not differ: p is 1.
        return 0.0, 1.0
    result = stats.wilcoxon(per_case)
    return float(result.statistic), float(result.pvalue)
