"""What do the pseudo labels get wrong? The labels that a trained teacher gives to whole unlabelled cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from beds import Case
from measuring import Segment

FOREGROUND = "foreground"


def count(segment: Segment, cases: Sequence[Case], labels: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Count voxels over all cases.

    Args:
        segment: Function from the files of a case to its pseudo label.
        cases: Unlabelled cases with their hidden labels.
        labels: Values of the classes by name; the background is 0.

    Returns:
        For each foreground class, and for all of them as one: ``found`` voxels, ``true`` ones, and ``both``.
    """
    import SimpleITK as sitk

    values = {name: [value] for name, value in labels.items() if value and name != "ignore"}
    if len(values) > 1:
        values[FOREGROUND] = [value for (value,) in values.values()]
    counts = {name: {"found": 0, "true": 0, "both": 0} for name in values}
    for case in cases:
        truth, pseudo = sitk.GetArrayFromImage(sitk.ReadImage(str(case.label))), segment(case.images)
        for name, own in values.items():
            found, true = np.isin(pseudo, own), np.isin(truth, own)
            for key, voxels in (("found", found), ("true", true), ("both", found & true)):
                counts[name][key] += int(voxels.sum())
    return counts


def rows(title: str, counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return the lines of a table.

    Args:
        title: Method and network.
        counts: Result of :func:`count`.

    Returns:
        One line per class: its size compared with the truth, precision, recall and Dice of all voxels in %.
    """
    lines = []
    for name, c in counts.items():
        size, precision, recall = (_share(*pair) for pair in _pairs(c))
        dice = _share(2 * c["both"], c["found"] + c["true"])
        lines.append(f"| {title} | {name} | {size:.2f} | {precision:.2f} | {recall:.2f} | {100 * dice:.1f} |")
    return lines


HEADER = ("| pseudo labels | class | found / true | precision | recall | Dice % |", "|---|---|---|---|---|---|")


def _pairs(c: Mapping[str, int]) -> list[tuple[int, int]]:
    return [(c["found"], c["true"]), (c["both"], c["found"]), (c["both"], c["true"])]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
