"""Order scans, least understood first: pure functions of a model's confidence in each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

SMALLEST_STRATUM = 10
"""Scans that a structure's uncertainty is compared with, at least."""
MOST_STRATA = 4
EXPECTED_SHARE = 0.9
"""Share of scans with a structure from which it is expected in all: a scan without it counts as uncertain."""


@dataclass(frozen=True)
class Structure:
    """Class or region as predicted by a model in one scan.

    Attributes:
        expected_dice: Dice that the model's own probabilities predict; NaN if it finds nothing.
        volume_ml: Predicted volume in ml.
    """

    expected_dice: float
    volume_ml: float


@dataclass(frozen=True)
class Ranked:
    """Place of a scan in the ranking, without what a page shows of it.

    Attributes:
        case: Name of the case.
        uncertainty: 0 for the most confident scan of its kind, 1 for the least confident.
        novelty: Difference from all scans ranked before it, in [0, 1].
        most_like: Most similar scan among those ranked before it; empty for the first.
    """

    case: str
    uncertainty: float
    novelty: float
    most_like: str


def stratified_uncertainty(cases: Mapping[str, Mapping[str, Structure]]) -> dict[str, float]:
    """Measure a model's uncertainty about each scan, compared with scans whose structures have a similar size.

    Small structures have a lower expected Dice than large ones and rare classes a lower one than common ones, whatever
    the scan: a plain order would put all scans of one kind first. So each structure is compared among the scans where
    it has a similar volume, and its place there, from 0 (most confident) to 1, is averaged over the structures.

    Args:
        cases: Structures by name, for each case.

    Returns:
        Uncertainty in [0, 1] by case; 1 if nothing was found.

    Example:
        >>> scans = {name: {"heart": Structure(dice, 5.0)} for name, dice in (("a", 0.9), ("b", 0.7), ("c", 0.8))}
        >>> stratified_uncertainty(scans)
        {'a': 0.0, 'b': 1.0, 'c': 0.5}
    """
    places: dict[str, list[float]] = {case: [] for case in cases}
    for name in dict.fromkeys(name for structures in cases.values() for name in structures):
        present = {case: s[name] for case, s in cases.items() if name in s and s[name].volume_ml > 0}
        for stratum in _strata(present):
            for case, place in stratum.items():
                places[case].append(place)
        if len(present) >= EXPECTED_SHARE * len(cases):
            for case in set(cases) - set(present):
                places[case].append(1.0)
    return {case: float(np.mean(found)) if found else 1.0 for case, found in places.items()}


def _strata(present: Mapping[str, Structure]) -> list[dict[str, float]]:
    """Return the places in [0, 1] of the cases of one structure, within each group of similar volume."""
    if not present:
        return []
    number = min(MOST_STRATA, max(1, len(present) // SMALLEST_STRATUM))
    by_volume = sorted(present, key=lambda case: present[case].volume_ml)
    strata = []
    for group in np.array_split(np.array(by_volume, dtype=object), number):
        surest_first = sorted(group, key=lambda case: -present[case].expected_dice)
        last = max(1, len(surest_first) - 1)
        strata.append({case: place / last for place, case in enumerate(surest_first)})
    return strata


def rank(uncertainty: Mapping[str, float], descriptors: Mapping[str, np.ndarray]) -> list[Ranked]:
    """Put the least confident scans first, but none that is similar to one before it.

    One scan after the other is taken: the one with the largest product of uncertainty and novelty. Novelty is the
    distance to the nearest scan taken before, as a share of the median distance between scans, at most 1: a near-copy
    of an uncertain scan falls behind, ordinary differences do not matter.

    Args:
        uncertainty: Uncertainty in [0, 1], by case.
        descriptors: Vector of each case, (F,); of length 0 if nothing is known, so that the order is that of
            uncertainty alone.

    Returns:
        All cases, the one to annotate first at the front.
    """
    cases = sorted(uncertainty)
    if not cases:
        return []
    unsure = np.array([uncertainty[case] for case in cases])
    points = _standardised(np.stack([descriptors[case] for case in cases]))
    scale = _median_distance(points)
    distance = np.full(len(cases), np.inf)
    nearest = np.full(len(cases), -1)
    left = np.ones(len(cases), dtype=bool)
    ranking = []
    for _ in cases:
        novelty = np.minimum(1.0, distance / scale) if scale > 0 else np.ones(len(cases))
        # If the product is 0, the less confident one still comes first.
        value = np.where(left, unsure * novelty + 1e-6 * unsure, -1.0)
        chosen = int(value.argmax())
        before = cases[nearest[chosen]] if nearest[chosen] >= 0 else ""
        ranking.append(Ranked(cases[chosen], float(unsure[chosen]), float(novelty[chosen]), before))
        left[chosen] = False
        to_chosen = np.linalg.norm(points - points[chosen], axis=1)
        closer = to_chosen < distance
        distance[closer], nearest[closer] = to_chosen[closer], chosen
    return ranking


def _standardised(points: np.ndarray) -> np.ndarray:
    spread = points.std(0)
    return (points - points.mean(0)) / np.where(spread > 0, spread, 1.0)


def _median_distance(points: np.ndarray, sample: int = 300) -> float:
    """Compute the median distance of two different points, for a fixed sample of them if there are many."""
    chosen = points[np.linspace(0, len(points) - 1, min(sample, len(points))).round().astype(int)]
    distances = np.linalg.norm(chosen[:, None] - chosen[None], axis=2)[~np.eye(len(chosen), dtype=bool)]
    return float(np.median(distances)) if distances.size else 0.0
