"""Open a folder of preprocessed cases whatever lies beside them; nnU-Net's own look ends in an assertion."""

from __future__ import annotations

from pathlib import Path

from nnunetv2.training.dataloading.nnunet_dataset import file_ending_dataset_mapping, nnUNetBaseDataset

FORMATS = frozenset(file_ending_dataset_mapping)
"""Endings of the formats in which nnU-Net keeps preprocessed cases."""
BESIDE_CASES = frozenset({"pkl", "npy"})
"""Endings that nnU-Net overlooks when it finds out the format of a folder."""


def ending(name: str) -> str:
    """Return the ending of a file as nnU-Net sees it, without the dot."""
    return name.split(".")[-1]


def dataset_in(folder: str | Path, cases: list[str] | None = None) -> nnUNetBaseDataset | None:
    """Open a folder of preprocessed cases.

    Args:
        folder: ``nnUNet_preprocessed/DatasetXXX_Name/<data_identifier>``.
        cases: Identifiers of the cases that are wanted; None for all.

    Returns:
        The cases; None if there are none, or cases of several formats. Other files are overlooked.
    """
    folder = Path(folder)
    present = {ending(path.name) for path in folder.iterdir()} & FORMATS if folder.is_dir() else set()
    return file_ending_dataset_mapping[present.pop()](str(folder), cases) if len(present) == 1 else None
