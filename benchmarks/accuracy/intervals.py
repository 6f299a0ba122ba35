"""Intervals of mean differences where cases recur: every draw judges the same ones, and a patient can have several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

RESAMPLES = 10_000


def sums_by_group(
    draws: Sequence[Mapping[str, float]], group_of: Callable[[str], str] = str
) -> tuple[np.ndarray, np.ndarray]:
    """Add up the differences of each group of cases in each draw.

    Args:
        draws: For each draw the differences of its cases, NaN where undefined.
        group_of: Patient of a case; by default every case is a group of its own.

    Returns:
        Sums and numbers of the defined differences, (draws, groups) each, groups in sorted order.
    """
    groups = sorted({group_of(case) for differences in draws for case in differences})
    place = {group: i for i, group in enumerate(groups)}
    sums, counts = np.zeros((2, len(draws), len(groups)))
    for i, differences in enumerate(draws):
        for case, difference in differences.items():
            if not np.isnan(difference):
                sums[i, place[group_of(case)]] += difference
                counts[i, place[group_of(case)]] += 1
    return sums, counts


def interval(
    sums: np.ndarray, counts: np.ndarray, with_draws: bool = False, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Compute the 95 % interval of a mean over the cases judged, or over draws and these cases, by bootstrap.

    A resample takes groups with replacement, each with all its cases and in all draws: neither more draws nor a
    patient's second case are further evidence about other patients. Where draws are taken with replacement too, the
    same groups count for all of them (a crossed bootstrap).

    Args:
        sums: Sum of the values of each group's cases in each draw, (draws, groups).
        counts: Number of these values.
        with_draws: Take draws with replacement as well; otherwise all draws count once.
        resamples: Number of resamples.
        seed: Seed of the resampling.

    Returns:
        Lower and upper end.
    """
    rng = np.random.default_rng(seed)
    num_draws, num_groups = sums.shape
    of_groups = _times_taken(rng, num_groups, resamples)
    of_draws = _times_taken(rng, num_draws, resamples) if with_draws else np.ones((resamples, num_draws))
    total, number = (((of_draws @ table) * of_groups).sum(axis=1) for table in (sums, counts))
    low, high = np.percentile(total[number > 0] / number[number > 0], [2.5, 97.5])
    return float(low), float(high)


def _times_taken(rng: np.random.Generator, size: int, resamples: int) -> np.ndarray:
    """Return how often each of ``size`` things is taken, (resamples, size)."""
    taken = np.zeros((resamples, size))
    np.add.at(taken, (np.arange(resamples)[:, None], rng.integers(0, size, (resamples, size))), 1)
    return taken
