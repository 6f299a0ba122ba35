"""Names and places of raw datasets."""

import re
from pathlib import Path

from nnunetv2.paths import nnUNet_raw
from nnunetv2.utilities.dataset_name_id_conversion import find_candidate_datasets

from nnunetv2_crln.errors import UserError


def raw_root() -> Path:
    """The folder of ``nnUNet_raw``.

    Raises:
        UserError: The variable is not set, or names no folder.
    """
    value = nnUNet_raw.get()
    if not value or not Path(value).is_dir():
        raise UserError(
            f"nnUNet_raw is {value!r}, expected an existing folder. "
            "Make it and set the variable: export nnUNet_raw=/path/to/nnUNet_raw"
        )
    return Path(value)


def dataset_folder_name(dataset_id: int, name: str) -> str:
    """``DatasetXXX_Name``.

    Raises:
        UserError: The number or the name is not allowed.
    """
    if not 1 <= dataset_id <= 999:
        raise UserError(f"Dataset number {dataset_id} is not between 1 and 999. Choose another one.")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise UserError(f"{name!r} is not a valid dataset name. Expected letters, digits, '_' and '-'.")
    return f"Dataset{dataset_id:03d}_{name}"


def refuse_other_names(dataset_id: int, folder_name: str) -> None:
    """Refuse a dataset number that is already in use under another name: nnU-Net could no longer find either.

    Raises:
        UserError: Names the other datasets.
    """
    others = [str(name) for name in find_candidate_datasets(dataset_id) if name != folder_name]
    if others:
        raise UserError(
            f"Dataset number {dataset_id} is already in use by {', '.join(others)} "
            "(in nnUNet_raw, nnUNet_preprocessed or nnUNet_results). Choose another number, or remove that dataset."
        )
