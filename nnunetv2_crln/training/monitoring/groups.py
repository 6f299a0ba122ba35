"""Follow groups of unlabelled cases, such as those of one scanner, and compare them with the labelled cases."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunetv2_crln.evaluation.domain_shift import MOST_CASES, compare_datasets
from nnunetv2_crln.layout import DOMAIN_FILE, GROUP_CURVES_FILE, UNLABELLED_GROUPS
from nnunetv2_crln.raw_dataset.dataset_json import record_entry
from nnunetv2_crln.raw_dataset.unlabelled_groups import ALL, unlabelled_groups
from nnunetv2_crln.utilities.json_files import read_json, write_json

MONITORED_OF_A_GROUP = 2
# About a minute of reading for large CT scans.
CASES_WHILE_OTHERS_WAIT = 60


class Groups:
    """Know the groups of a training, keep their curves in a file, and compare them with the labelled cases.

    Args:
        dataset_json: Content of dataset.json.
        unlabelled: Dataset of nnU-Net with the monitored cases.
        labelled: Dataset of nnU-Net with the labelled cases.
        output_folder: Folder of the fold.
        transpose_forward: Axes of the files in the order of the preprocessed images' axes, from the plans.

    Attributes:
        cases: Cases of each group.
        without_cases: Groups of dataset.json without a preprocessed case, which are not followed.

    Raises:
        UserError: The groups of dataset.json make no sense.
    """

    def __init__(
        self,
        dataset_json: Mapping[str, Any],
        unlabelled: Any,
        labelled: Any,
        output_folder: str | Path,
        transpose_forward: Sequence[int],
    ):
        self._unlabelled, self._labelled, self._transpose_forward = unlabelled, labelled, transpose_forward
        self._folder = Path(output_folder)
        self.cases = unlabelled_groups(dataset_json, list(unlabelled.identifiers), may_be_empty=True)
        declared = record_entry(dataset_json, UNLABELLED_GROUPS) or {}
        self.without_cases = [name for name in declared if name not in self.cases]

    def with_monitored(self, fixed: Sequence[str]) -> list[str]:
        """Add cases until each group has some.

        Args:
            fixed: Monitored cases.

        Returns:
            The given cases and the first ones of groups that lack some, sorted.
        """
        chosen = set(fixed)
        for cases in self.cases.values():
            lacking = MONITORED_OF_A_GROUP - len(chosen.intersection(cases))
            chosen.update([case for case in cases if case not in chosen][: max(0, lacking)])
        return sorted(chosen)

    def record(self, epoch: int, measured: Mapping[str, Mapping[str, float]]) -> None:
        """Append the means of each group to ``crln_group_curves.json``; later epochs of an earlier run are dropped.

        Args:
            epoch: Epoch, from 0.
            measured: Measurements of each monitored case, by name.
        """
        if not self.cases or not measured:
            return
        path = self._folder / GROUP_CURVES_FILE
        known = read_json(path)["groups"] if path.is_file() else {}
        curves = {}
        for group, cases in self.cases.items():
            curves[group] = {
                key: _appended(
                    known.get(group, {}).get(key, []), epoch, [m[key] for c, m in measured.items() if c in cases]
                )
                for key in next(iter(measured.values()))
            }
        write_json({"format_version": 1, "groups": curves}, path)

    def compare_with_labelled(self, others_wait: bool = False) -> list[str]:
        """Compare the groups, or all unlabelled cases, with the labelled ones, and write ``crln_domain_shift.json``.

        Args:
            others_wait: True if the other processes of a distributed training wait for this one; then fewer cases are
                measured.

        Returns:
            Texts about groups that are far.
        """
        labelled = set(self._labelled.identifiers)
        unlabelled = [case for case in self._unlabelled.identifiers if case not in labelled]
        if not unlabelled:
            return []
        groups = self.cases or {ALL: unlabelled}
        at_most = max(1, CASES_WHILE_OTHERS_WAIT // (1 + len(groups))) if others_wait else MOST_CASES
        shifts = compare_datasets(self._labelled, self._unlabelled, groups, self._transpose_forward, at_most)
        content = [{"group": shift.group, "far": bool(shift.far), "text": shift.describe()} for shift in shifts]
        write_json({"format_version": 1, "groups": content}, self._folder / DOMAIN_FILE)
        return [shift.describe() for shift in shifts if shift.far]


def _appended(points: Sequence[Sequence[float]], epoch: int, values: Sequence[float]) -> list[list[float]]:
    """Append the mean of the finite values as a point (epoch, value)."""
    kept = [[float(e), float(v)] for e, v in points if e < epoch]
    finite = [value for value in values if math.isfinite(value)]
    return [*kept, [float(epoch), sum(finite) / len(finite)]] if finite else kept
