"""Read from dataset.json which classes are annotated in which labelled case."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import Any

from nnunetv2_crln.errors import UserError, did_you_mean, listing
from nnunetv2_crln.layout import ANNOTATED_LABELS
from nnunetv2_crln.raw_dataset.classes import class_values
from nnunetv2_crln.raw_dataset.dataset_json import record_entry, record_error

AnnotatedLabels = Mapping[str, frozenset[int]]
"""Annotated foreground classes of each case that lacks some; in all other cases every class is annotated."""


def annotated_labels(
    dataset_json: Mapping[str, Any], cases: Collection[str], may_be_absent: bool = False
) -> AnnotatedLabels:
    """Read the ``"annotated_labels"`` of the ``"crln"`` block: by case, or by a pattern of case names, class names.

    Args:
        dataset_json: Content of dataset.json.
        cases: Names of the labelled cases.
        may_be_absent: Pass over names without a case, such as those of cases that are not preprocessed.

    Returns:
        Annotated classes of the cases that lack some.

    Raises:
        UserError: The entry is malformed, names unknown cases or classes, or leaves no case with all classes.
    """
    entry = annotated_entry(dataset_json)
    if not entry:
        return {}
    if not isinstance(entry, Mapping) or not all(isinstance(names, list) for names in entry.values()):
        raise _error(f"is {entry!r}; expected lists of class names by case or pattern, as in {_EXAMPLE}")
    classes = _classes(dataset_json)
    values = {key: _values(key, names, classes) for key, names in entry.items()}
    found: dict[str, frozenset[int]] = {}
    chosen_by: dict[str, str] = {}
    for key in sorted(entry, key=lambda key: key in cases):  # the names of single cases last: they overrule patterns
        matching = [key] if key in cases else [case for case in cases if fnmatchcase(case, key)]
        if not matching and not may_be_absent:
            raise _error(f"names {key!r}, but no labelled case has this name.{did_you_mean(key, cases)}")
        for case in matching:
            if key != case and found.get(case, values[key]) != values[key]:
                raise _error(f"says different things about {case}: by {chosen_by[case]!r} and by {key!r}. Keep one")
            found[case], chosen_by[case] = values[key], key
    partly = {case: found[case] for case in sorted(found) if found[case] != frozenset(classes.values())}
    if len(partly) == len(cases):
        raise _error(
            "leaves no case in which all classes are annotated. Only such a case shows what background is: annotate "
            "at least one completely"
        )
    return partly


def annotated_entry(dataset_json: Mapping[str, Any]) -> Any:
    """Return the ``"annotated_labels"`` of dataset.json as they are written there; None if there are none."""
    return record_entry(dataset_json, ANNOTATED_LABELS)


_EXAMPLE = '{"case_07": ["liver"], "siteB_*": ["liver", "spleen"]}'


def _error(text: str) -> UserError:
    return record_error(ANNOTATED_LABELS, text)


def _classes(dataset_json: Mapping[str, Any]) -> dict[str, int]:
    """Return the value of each foreground class."""
    classes = class_values(dataset_json)
    if regions := [name for name, values in classes.items() if len(values) > 1]:
        raise _error(
            f"does not go with region-based labels ({listing(regions)}): a voxel of one region says nothing about the "
            "others. Write one value for each class, or remove the entry"
        )
    return {name: int(values[0]) for name, values in classes.items()}


def _values(key: str, names: list, classes: Mapping[str, int]) -> frozenset[int]:
    unknown = [name for name in names if name not in classes]
    if unknown:
        raise _error(
            f"of {key!r} names the class {unknown[0]!r}; expected some of {', '.join(classes)}."
            f"{did_you_mean(str(unknown[0]), classes)}"
        )
    if not names:
        raise _error(f"of {key!r} is empty: a case without any annotated class belongs in imagesUl")
    return frozenset(classes[name] for name in names)


def class_names_of(dataset_json: Mapping[str, Any], values: Collection[int]) -> list[str]:
    """Return the names of some classes, for messages.

    Args:
        dataset_json: Content of dataset.json, without regions.
        values: Values of the classes.

    Returns:
        Names in the order of dataset.json.
    """
    return [name for name, value in _classes(dataset_json).items() if value in values]
