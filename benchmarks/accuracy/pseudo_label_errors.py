"""What do the pseudo labels get wrong? The labels that a trained teacher gives to whole unlabelled cases."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from beds import Case
from measuring import Segment

from nnunetv2_crln.raw_dataset.classes import class_values
from nnunetv2_crln.training.whole_volume_refresh.components import masks_of

FOREGROUND = "foreground"
HEADER = ("| pseudo labels | class | found / true | precision | recall | Dice % |", "|---|---|---|---|---|---|")


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

    values = class_values({"labels": labels})
    if len(values) > 1:
        values[FOREGROUND] = tuple(itertools.chain(*values.values()))
    regions = list(values.values())
    counts = np.zeros((3, len(values)), dtype=int)
    for case in cases:
        truth = sitk.GetArrayFromImage(sitk.ReadImage(str(case.label)))
        found, true = masks_of(segment(case.images), regions), masks_of(truth, regions)
        counts += [[np.count_nonzero(mask) for mask in masks] for masks in (found, true, found & true)]
    return {
        name: {"found": found, "true": true, "both": both}
        for name, (found, true, both) in zip(values, counts.T.tolist(), strict=True)
    }


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
        found, true, both = c["found"], c["true"], c["both"]
        size, precision, recall = _share(found, true), _share(both, found), _share(both, true)
        dice = _share(2 * both, found + true)
        lines.append(f"| {title} | {name} | {size:.2f} | {precision:.2f} | {recall:.2f} | {100 * dice:.1f} |")
    return lines


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
