"""Estimate the uncertainty of a mean by resampling the cases."""

import warnings

import numpy as np
from scipy import stats

CONFIDENCE_LEVEL = 0.95


def bootstrap_mean(values: np.ndarray, resamples: int = 100, seed: int = 0) -> dict[str, float]:
    """Compute the mean over cases with its bootstrap standard deviation and 95 % interval.

    Cases are drawn with replacement, ``resamples`` times; ``sd`` is the standard deviation of the resampled means, as
    in the paper's tables (it shrinks with the number of cases; ``case_sd`` does not). The interval is the percentile
    interval.

    Args:
        values: One value per case, (cases,), or one per case and class, (cases, classes). NaN means undefined and is
            excluded. With classes, the statistic is the mean of the class means, and whole cases are drawn.
        resamples: Number of resamples.
        seed: Seed of the draws; the same values and seed give the same result.

    Returns:
        ``mean``, ``sd``, ``ci_low``, ``ci_high``, ``case_sd`` and ``median`` (over the cases, each averaged over its
        classes), ``n`` (cases with a value), ``n_nan`` (undefined values). Statistics that need more cases are NaN.

    Example:
        >>> result = bootstrap_mean(np.array([0.8, 0.9, np.nan]))
        >>> round(result["mean"], 3), result["n"], result["n_nan"]
        (0.85, 2, 1)
    """
    table = np.asarray(values, dtype=float)
    table = table[:, None] if table.ndim == 1 else table
    defined = table[~np.isnan(table).all(axis=1)]
    per_case = mean_ignoring_nan(defined, axis=1)
    several = len(defined) > 1
    sd, low, high = _resampled(defined, resamples, seed) if several else (float("nan"),) * 3
    return {
        "mean": mean_of_class_means(defined),
        "sd": sd,
        "ci_low": low,
        "ci_high": high,
        "case_sd": float(np.std(per_case, ddof=1)) if several else float("nan"),
        "median": float(np.median(per_case)) if len(defined) else float("nan"),
        "n": len(defined),
        "n_nan": int(np.isnan(table).sum()),
    }


def _resampled(table: np.ndarray, resamples: int, seed: int) -> tuple[float, float, float]:
    result = stats.bootstrap(
        tuple(table.T),
        _mean_of_column_means,
        n_resamples=resamples,
        paired=True,  # one draw of cases for all classes
        vectorized=True,
        axis=-1,
        confidence_level=CONFIDENCE_LEVEL,
        method="percentile",  # the default (BCa) is undefined when all values are equal
        batch=1000,
        random_state=np.random.default_rng(seed),  # called rng since SciPy 1.15, which still takes this name
    )
    low, high = result.confidence_interval
    return float(result.standard_error), float(low), float(high)


def _mean_of_column_means(*columns: np.ndarray, axis: int = -1) -> np.ndarray:
    return mean_ignoring_nan(np.stack([mean_ignoring_nan(column, axis) for column in columns]), 0)


def mean_of_class_means(table: np.ndarray) -> float:
    """Average over classes the mean over cases, (cases, classes) → number; NaNs are excluded, NaN if all are NaN."""
    return float(_mean_of_column_means(*np.asarray(table, dtype=float).T))


def mean_ignoring_nan(values: np.ndarray, axis: int) -> np.ndarray:
    """Compute ``numpy.nanmean`` without its warning; a class undefined in all drawn cases is normal, its mean is NaN.

    Args:
        values: Array of any shape.
        axis: Axis to average over.

    Returns:
        Means, without that axis.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        return np.nanmean(values, axis=axis)
