"""Read from dataset.json which unlabelled cases belong together, such as those of one scanner."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import Any

from nnunetv2_crln.errors import UserError, did_you_mean
from nnunetv2_crln.layout import UNLABELLED_GROUPS
from nnunetv2_crln.raw_dataset.dataset_json import record_entry, record_error

OTHERS = "other cases"
ALL = "unlabelled cases"


def unlabelled_groups(
    dataset_json: Mapping[str, Any], cases: Collection[str], may_be_empty: bool = False
) -> dict[str, list[str]]:
    """Read the ``"unlabelled_groups"`` of the ``"crln"`` block: by name of a group, a pattern of case names.

    Args:
        dataset_json: Content of dataset.json.
        cases: Names of the unlabelled cases.
        may_be_empty: A pattern may match no case, such as that of scans not preprocessed yet; its group is left out.

    Returns:
        Cases of each group; a group of its own for cases that no pattern matches. Empty if no groups are defined.

    Raises:
        UserError: The entry is malformed, a pattern matches no case that should, or two match the same case.
    """
    entry = record_entry(dataset_json, UNLABELLED_GROUPS)
    if not entry:
        return {}
    if not isinstance(entry, Mapping) or not all(isinstance(pattern, str) for pattern in entry.values()):
        raise _error(f'is {entry!r}; expected a pattern of case names by group, as in {{"scanner A": "siteA_*"}}')
    groups: dict[str, list[str]] = {}
    group_of: dict[str, str] = {}
    for name, pattern in entry.items():
        matching = [case for case in sorted(cases) if fnmatchcase(case, pattern)]
        if not matching and may_be_empty:
            continue
        if not matching:
            raise _error(f"of {name!r}: no unlabelled case matches {pattern!r}.{did_you_mean(pattern, cases)}")
        groups[name] = matching
        for case in matching:
            if case in group_of:
                raise _error(
                    f"puts {case} into {group_of[case]!r} and into {name!r}. Make the patterns exclude each other"
                )
            group_of[case] = name
    if rest := [case for case in sorted(cases) if case not in group_of]:
        groups[OTHERS] = rest
    return groups


def _error(text: str) -> UserError:
    return record_error(UNLABELLED_GROUPS, text)
