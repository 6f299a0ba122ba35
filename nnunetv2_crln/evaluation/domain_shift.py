"""Compare groups of unlabelled cases with the labelled ones: spacing, size and intensities as the network sees them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunetv2_crln.errors import listing

FEWEST_CASES = 3
"""Smallest number of cases of which a median says anything."""
MOST_CASES = 100
"""Number of cases of a group that are measured at most."""
FAR = 4.0
"""Distance, in units of the labelled cases' spread, from which a group is called far."""
SMALLEST_SPREAD = {"spacing": math.log2(1.2), "size": math.log2(1.2), "intensity": 0.15}
"""Spread that a few labelled cases are granted in any case: a fifth of a length, 0.15 of normalised intensity."""
PERCENTILES = (10, 50, 90, 95)
_STRIDE = 3

Features = Mapping[str, float]
"""Measurements of one case by name; the first word of a name is a key of :data:`SMALLEST_SPREAD`."""


@dataclass(frozen=True)
class Shift:
    """Comparison of one group with the labelled cases.

    Attributes:
        group: Name of the group.
        num_cases: Number of its measured cases.
        far: Texts about the features that are far, the farthest first.
        unusual: Cases that are far by themselves.
        too_few: The group or the labelled cases are too few to compare.
    """

    group: str
    num_cases: int
    far: tuple[str, ...] = ()
    unusual: tuple[str, ...] = ()
    too_few: bool = False

    def describe(self) -> str:
        """Describe the comparison in one sentence."""
        if self.too_few:
            return f"{self.group}: too few cases to compare with the labelled ones"
        if self.far:
            return f"{self.group} ({self.num_cases} cases) is far from the labelled cases: {listing(self.far, 3)}"
        if self.unusual:
            return (
                f"{self.group}: as a whole like the labelled cases, but {len(self.unusual)} of {self.num_cases} cases "
                f"are far from them: {listing(self.unusual)}"
            )
        return f"{self.group} ({self.num_cases} cases): like the labelled cases"


def features_of(
    image: Any, mask: Any, properties: Mapping[str, Any], transpose_forward: Sequence[int]
) -> dict[str, float]:
    """Measure one preprocessed case.

    Args:
        image: Normalised image, (C, X, Y, Z), an array or a compressed array that can be sliced.
        mask: Segmentation of nnU-Net, (1, X, Y, Z), negative outside of the nonzero region.
        properties: Properties of the case from nnU-Net, with spacing and size before resampling.
        transpose_forward: Axes of the file in the order of the image's axes, from the plans.

    Returns:
        Base-2 logarithms of spacing and size, in mm, of each axis of the image, and percentiles of each channel's
        intensity.
    """
    # nnU-Net keeps the spacing in the order of the file, but the size in that of the preprocessed image.
    spacing = [float(properties["spacing"][axis]) for axis in transpose_forward]
    size = properties["shape_after_cropping_and_before_resampling"]
    measured = {}
    for axis, (step, number) in enumerate(zip(spacing, size, strict=True)):
        measured[f"spacing of axis {axis} in mm"] = math.log2(step)
        measured[f"size of axis {axis} in mm"] = math.log2(step * int(number))
    every = (slice(None), *[slice(None, None, _STRIDE)] * (len(image.shape) - 1))
    voxels, inside = np.asarray(image[:])[every], np.asarray(mask[:])[every][0] >= 0
    for channel, values in enumerate(voxels):
        chosen = values[inside] if inside.any() else values
        for percentile, value in zip(PERCENTILES, np.percentile(chosen, PERCENTILES), strict=True):
            measured[f"intensity of channel {channel}, {percentile}th percentile"] = float(value)
    return measured


def measure(
    load_case: Callable[[str], tuple],
    cases: Sequence[str],
    transpose_forward: Sequence[int],
    at_most: int = MOST_CASES,
) -> dict[str, Features]:
    """Measure some preprocessed cases, spread evenly over the list.

    Args:
        load_case: Loads image, mask, previous stage and properties of a case, as nnU-Net's datasets do.
        cases: Names of the cases.
        transpose_forward: Axes of the files in the order of the images' axes, from the plans.
        at_most: Largest number of cases to measure.

    Returns:
        Measurements by case.
    """
    measured: dict[str, Features] = {}
    for case in sorted(cases)[:: max(1, math.ceil(len(cases) / at_most))]:
        image, mask, _, properties = load_case(case)
        measured[case] = features_of(image, mask, properties, transpose_forward)
    return measured


def compare_datasets(
    labelled: Any,
    unlabelled: Any,
    groups: Mapping[str, Sequence[str]],
    transpose_forward: Sequence[int],
    at_most: int = MOST_CASES,
) -> list[Shift]:
    """Measure the labelled cases and those of each group, and compare them.

    Args:
        labelled: nnU-Net's dataset of the labelled cases.
        unlabelled: Dataset with the cases of the groups.
        groups: Names of the cases of each group.
        transpose_forward: Axes of the files in the order of the images' axes, from the plans.
        at_most: Largest number of cases to measure in each group, and of the labelled ones.

    Returns:
        One comparison for each group.
    """

    def measured(dataset: Any, cases: Sequence[str]) -> dict[str, Features]:
        return measure(dataset.load_case, cases, transpose_forward, at_most)

    groups_measured = {name: measured(unlabelled, cases) for name, cases in groups.items()}
    return compare_groups(measured(labelled, list(labelled.identifiers)), groups_measured)


def compare_groups(labelled: Mapping[str, Features], groups: Mapping[str, Mapping[str, Features]]) -> list[Shift]:
    """Compare groups with the labelled cases, feature by feature.

    The distance of a group is that of its median from the labelled cases' median, in units of their spread (1.48 times
    the median absolute deviation, at least :data:`SMALLEST_SPREAD`).

    Args:
        labelled: Measurements of the labelled cases.
        groups: Measurements of the cases of each group.

    Returns:
        One comparison for each group.
    """
    return [_compare(labelled, name, cases) for name, cases in groups.items()]


def _compare(labelled: Mapping[str, Features], group: str, cases: Mapping[str, Features]) -> Shift:
    if min(len(labelled), len(cases)) < FEWEST_CASES:
        return Shift(group, len(cases), too_few=True)
    names = list(next(iter(labelled.values())))
    usual, other = (np.array([[case[name] for name in names] for case in side.values()]) for side in (labelled, cases))
    centre = np.median(usual, 0)
    floor = np.array([SMALLEST_SPREAD[name.split(" ", 1)[0]] for name in names])
    spread = np.maximum(1.4826 * np.median(np.abs(usual - centre), 0), floor)
    median = np.median(other, 0)
    distance = np.abs(median - centre) / spread
    far = [int(index) for index in np.argsort(-distance) if distance[index] >= FAR]
    # A case counts as unusual only if it is also half as far again from the centre as the farthest labelled case.
    own = np.abs(usual - centre).max(0)
    beyond = (np.abs(other - centre) >= np.maximum(FAR * spread, 1.5 * own)).any(1)
    return Shift(
        group,
        len(cases),
        tuple(_text(names[index], median[index], centre[index]) for index in far),
        tuple(case for case, is_beyond in zip(cases, beyond, strict=True) if is_beyond),
    )


def _text(name: str, here: float, labelled: float) -> str:
    if not name.startswith("intensity"):
        here, labelled = 2**here, 2**labelled
    return f"{name} {here:.3g}, labelled {labelled:.3g}"
