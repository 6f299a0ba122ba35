"""Read the classes, or regions, from dataset.json: all forms of nnU-Net's ``"labels"`` in one place."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.raw_dataset.dataset_json import required_entry


@dataclass(frozen=True)
class LabelDefinition:
    """Entry ``labels`` of a dataset.json.

    Attributes:
        classes: Label values that form each foreground class or region, by name.
        ignore_label: Value of unannotated voxels; None if the dataset has none.
        known_labels: All values that may occur in a prediction.
    """

    classes: dict[str, tuple[int, ...]]
    ignore_label: int | None
    known_labels: frozenset[int]

    @property
    def known_in_reference(self) -> frozenset[int]:
        """All values that may occur in a label file."""
        return self.known_labels if self.ignore_label is None else self.known_labels | {self.ignore_label}


def class_values(dataset_json: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the values of each class, or of each region, without background and ignore label.

    Args:
        dataset_json: Content of dataset.json. nnU-Net takes a value as a number and as a list of one.

    Returns:
        Values by name, in the order of dataset.json.

    Example:
        >>> class_values({"labels": {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}})
        {'whole': (1, 2), 'core': (2,)}
    """
    values = {name: _as_tuple(entry) for name, entry in dataset_json.get("labels", {}).items() if name != "ignore"}
    return {name: entry for name, entry in values.items() if set(entry) != {0}}


def all_values(dataset_json: Mapping[str, Any]) -> list[int]:
    """Return all values that may occur in a label, sorted, with those of background and ignore label.

    Args:
        dataset_json: Content of dataset.json.

    Returns:
        The values.
    """
    return sorted({int(value) for entry in dataset_json["labels"].values() for value in _as_tuple(entry)})


def absent_classes(dataset_json: Mapping[str, Any], found: Collection[int]) -> list[str]:
    """Return the names of the classes, or regions, of which no value was found.

    Args:
        dataset_json: Content of dataset.json.
        found: Values that occur in some labels.

    Returns:
        Names in the order of dataset.json.
    """
    return [name for name, values in class_values(dataset_json).items() if not set(values) & set(found)]


def changed_labels(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Describe how the labels of a dataset.json differ from those of a former one.

    Args:
        before: Content of the former dataset.json.
        now: Content of the present one.

    Returns:
        Old and new value of each entry that differs; empty if a label means the same in both.

    Example:
        >>> changed_labels({"labels": {"background": 0, "a": 1}}, {"labels": {"background": 0, "a": [1], "b": 2}})
        ['b: none → 2']
    """
    old, new = ({name: _as_tuple(entry) for name, entry in each["labels"].items()} for each in (before, now))
    changes = [
        f"{name}: {_in_words(old.get(name))} → {_in_words(new.get(name))}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]
    # Regions are heads of a network in the order of their names, and overwrite each other in that of their values.
    if any(len(values) > 1 for values in old.values()) and not changes and list(old) != list(new):
        changes.append(f"order of the regions: {', '.join(old)} → {', '.join(new)}")
    orders = [each.get("regions_class_order") for each in (before, now)]
    if orders[0] != orders[1]:
        changes.append(f"regions_class_order: {' → '.join(_in_words(order) for order in orders)}")
    return changes


def _in_words(values: Collection[int] | None) -> str:
    return "none" if values is None else ", ".join(map(str, values))


def foreground_names(dataset_json: Mapping[str, Any], label_manager: Any) -> list[str]:
    """Return the names of the classes, or of the regions, in the order of the foreground heads of a network.

    Args:
        dataset_json: Content of dataset.json.
        label_manager: Label manager of nnU-Net.

    Returns:
        Names without background and ignore label; a value without a name is its own name.
    """
    classes = class_values(dataset_json)
    if label_manager.has_regions:
        return list(classes)
    by_value = {values[0]: name for name, values in classes.items()}
    return [by_value.get(value, str(value)) for value in label_manager.foreground_labels]


def names_by_value(dataset_json: Mapping[str, Any], num_classes: int) -> list[str]:
    """Return the name of each value that nnU-Net writes into a segmentation.

    Args:
        dataset_json: Content of dataset.json. A region has the value that nnU-Net writes for it
            (``regions_class_order``).
        num_classes: Number of values including background, C.

    Returns:
        C names, background first; a value without a name is its own name.
    """
    classes = class_values(dataset_json)
    by_value = {values[0]: name for name, values in classes.items() if len(values) == 1}
    by_value |= dict(zip(dataset_json.get("regions_class_order") or (), classes, strict=False))
    return ["background", *(by_value.get(value, str(value)) for value in range(1, num_classes))]


def label_definition(dataset_json: Mapping) -> LabelDefinition:
    """Read the classes of a dataset.json by the rules of nnU-Net's ``LabelManager``, but with their names.

    Args:
        dataset_json: Content of the file; only ``labels`` is used.

    Returns:
        The classes.

    Raises:
        UserError: An entry is not a label value, or no class is foreground.
    """
    # nnU-Net's LabelManager drops the names and imports torch, which takes seconds.
    listed = required_entry(dataset_json, "labels")
    values = {name: _label_values(name, entry) for name, entry in listed.items()}
    ignored = values.pop("ignore", None)
    classes = {name: value for name, value in values.items() if set(value) != {0}}
    if not classes:
        raise UserError(f"dataset.json lists no foreground class: labels = {dict(listed)}. Add one.")
    if ignored is not None and len(ignored) != 1:
        raise UserError(f"The ignore label in dataset.json must be one integer, found {list(ignored)}. Correct it.")
    known = frozenset(label for value in values.values() for label in value) | {0}
    return LabelDefinition(classes, ignored[0] if ignored else None, known)


def _label_values(name: str, entry: object) -> tuple[int, ...]:
    try:
        values = tuple(int(value) for value in _as_tuple(entry))
    except (TypeError, ValueError):
        values = ()
    if not values:
        raise UserError(
            f"labels in dataset.json: {name!r} is {entry!r}, expected a label value or a list of label values. "
            f'nnU-Net v2 writes {{"background": 0, "liver": 1}} (v1 had it the other way round).'
        )
    return values


def _as_tuple(entry: Any) -> tuple[int, ...]:
    return tuple(entry) if isinstance(entry, (list, tuple)) else (entry,)
