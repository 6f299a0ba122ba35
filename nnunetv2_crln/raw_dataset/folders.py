"""Find the folders of a dataset by its number."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from nnunetv2.utilities.dataset_name_id_conversion import find_candidate_datasets

from nnunetv2_crln.errors import UserError, did_you_mean_path
from nnunetv2_crln.layout import dataset_number
from nnunetv2_crln.raw_dataset.dataset_argument import present_datasets, suggest_dataset
from nnunetv2_crln.raw_dataset.environment import required_folder


@dataclass(frozen=True)
class DatasetFolders:
    """Name and folders of a dataset; ``preprocessed`` may not exist yet."""

    name: str
    raw: Path
    preprocessed: Path

    @property
    def number(self) -> int:
        """Number of the dataset, 5 of ``Dataset005_Heart``."""
        return int(dataset_number(self.name))


def find_dataset(dataset_id: int) -> DatasetFolders:
    """Find the folders of a dataset with raw images.

    Args:
        dataset_id: Number in ``DatasetXXX_Name``.

    Returns:
        Its name and folders.

    Raises:
        UserError: An environment variable is not set, or the number is unknown or used twice.
    """
    raw, preprocessed = raw_root(), required_folder("nnUNet_preprocessed")
    names = [str(name) for name in find_candidate_datasets(dataset_id)]
    if len(names) > 1:
        raise UserError(
            f"Dataset number {dataset_id} has several names in nnUNet_raw, nnUNet_preprocessed and nnUNet_results: "
            f"{', '.join(names)} (nnU-Net compares the first digits alone). Rename all but one."
        )
    # nnU-Net takes Dataset1042_Heart and Dataset104old_Heart for number 104, too.
    if not names or not names[0].startswith(f"Dataset{dataset_id:03d}_") or not (raw / names[0]).is_dir():
        present = present_datasets()
        raise UserError(
            f"No folder Dataset{dataset_id:03d}_… in {raw} (nnUNet_raw). Found there: {', '.join(present) or 'none'}. "
            f"Check the number given with -d and the variable nnUNet_raw."
            f"{_other_form(raw, dataset_id) or suggest_dataset(dataset_id, present)}"
        )
    return DatasetFolders(names[0], raw / names[0], preprocessed / names[0])


def _other_form(raw: Path, dataset_id: int) -> str:
    """Return a sentence on a folder that probably is the dataset, but not where or as nnU-Net expects it."""
    form = re.compile(rf"(?:Dataset|Task)0*{dataset_id}_(.*)", re.IGNORECASE)
    if form.fullmatch(raw.name):
        return f" nnUNet_raw must be the folder above the dataset: {raw.parent}."
    for path in sorted(raw.iterdir()):
        if path.is_dir() and (match := form.fullmatch(path.name)):
            return f" Rename {path.name} to Dataset{dataset_id:03d}_{match[1]} if it is the dataset."
    return ""


def raw_root() -> Path:
    """Return the folder in the environment variable ``nnUNet_raw``.

    Raises:
        UserError: The variable is not set, or is not the path of a folder.
    """
    folder = required_folder("nnUNet_raw")
    if not folder.is_dir():
        raise UserError(
            f"nnUNet_raw is {str(folder)!r}, expected an existing folder. Make it or correct the variable: "
            f"export nnUNet_raw=/path/to/nnUNet_raw.{did_you_mean_path(folder)}"
        )
    return folder


def dataset_folder_name(dataset_id: int, name: str) -> str:
    """Compose the folder name ``DatasetXXX_Name``.

    Args:
        dataset_id: Number of the dataset, 1 to 999.
        name: Name of the dataset: letters, digits, '_' and '-'.

    Returns:
        Name of the folder.

    Raises:
        UserError: The number or the name is not allowed.
    """
    if not 1 <= dataset_id <= 999:
        raise UserError(f"Dataset number {dataset_id} is not between 1 and 999. Choose another one.")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise UserError(f"{name!r} is not a valid dataset name. Expected letters, digits, '_' and '-'.")
    return f"Dataset{dataset_id:03d}_{name}"


def refuse_other_names(dataset_id: int, folder_name: str) -> None:
    """Check that a dataset number is not in use under another name, because nnU-Net could no longer find either.

    Args:
        dataset_id: Number of the dataset.
        folder_name: ``DatasetXXX_Name`` that may use the number.

    Raises:
        UserError: Other datasets use the number; the message names them.
    """
    others = [str(name) for name in find_candidate_datasets(dataset_id) if name != folder_name]
    if others:
        raise UserError(
            f"Dataset number {dataset_id} is already in use by {', '.join(others)} "
            "(in nnUNet_raw, nnUNet_preprocessed or nnUNet_results). Choose another number, or remove that dataset."
        )
