"""Read the classes or regions to evaluate, and the allowed label values, from a dataset.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2_crln.errors import UserError


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


def find_dataset_json(labels_folder: Path, predictions_folder: Path) -> Path:
    """Find the dataset.json beside the labels folder (as in nnUNet_raw), or else nnU-Net's copy with the predictions.

    Args:
        labels_folder: Folder of label files.
        predictions_folder: Folder of predictions.

    Returns:
        Path of the file.

    Raises:
        UserError: Neither place has a dataset.json.
    """
    candidates = [labels_folder.resolve().parent / "dataset.json", predictions_folder / "dataset.json"]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise UserError(
        f"No dataset.json found; looked for {candidates[0]} and {candidates[1]}. "
        f"Name it with -djfile PATH (dataset_json=... in Python)."
    )


def required_entry(dataset_json: Mapping, key: str) -> Any:
    """Return an entry that every dataset.json of nnU-Net v2 has.

    Args:
        dataset_json: Content of the file.
        key: Name of the entry.

    Returns:
        Its value.

    Raises:
        UserError: The entry is missing.
    """
    if key not in dataset_json:
        raise UserError(
            f"dataset.json has no entry {key!r}, only {sorted(dataset_json)}. "
            f"nnU-Net v2 needs it: add it, or name the right file."
        )
    return dataset_json[key]


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
    listed = tuple(entry) if isinstance(entry, (list, tuple)) else (entry,)
    try:
        values = tuple(int(value) for value in listed)
    except (TypeError, ValueError):
        values = ()
    if not values:
        raise UserError(
            f"labels in dataset.json: {name!r} is {entry!r}, expected a label value or a list of label values. "
            f'nnU-Net v2 writes {{"background": 0, "liver": 1}} (v1 had it the other way round).'
        )
    return values
