"""Read ``-d``: the number of a dataset or its name, as nnU-Net's own commands accept both."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterable
from pathlib import Path

from nnunetv2_crln.errors import closest
from nnunetv2_crln.layout import dataset_number, dataset_title


def dataset_id(text: str) -> int:
    """Return the number in ``104``, ``Dataset104_Name`` or, if nnUNet_raw has just one dataset of that name, ``Name``.

    Raises:
        ArgumentTypeError: The text is none of these; the message names the dataset that was probably meant.
    """
    if match := re.fullmatch(r"(?:Dataset(?=\d{3,}_))?(\d+)(?:_.*)?", text):
        return int(match[1])
    names = present_datasets()
    found = {int(dataset_number(name)) for name in names if dataset_title(name).lower() == text.lower()}
    if len(found) == 1:
        return found.pop()
    raise argparse.ArgumentTypeError(
        f"{text!r} is neither a number nor a name of a dataset in nnUNet_raw.{suggest_dataset(text, names)}"
    )


def present_datasets(variable: str = "nnUNet_raw") -> list[str]:
    """Return the names of the datasets in one of nnU-Net's three folders; an empty list if it is not set."""
    folder = os.environ.get(variable)
    found = Path(folder).glob("Dataset*") if folder else ()
    # Copies beside a dataset, such as Dataset150old_Heart, have no number.
    return sorted(path.name for path in found if re.fullmatch(r"Dataset\d{3,}_.+", path.name) and path.is_dir())


def suggest_dataset(wrong: str | int, names: Iterable[str]) -> str:
    """Suggest a dataset for a wrong number or name.

    Args:
        wrong: Number or name that the user typed.
        names: Names of existing datasets, ``DatasetXXX_Name``.

    Returns:
        Text to append to an error message; empty if nothing is similar.
    """
    by_key = {key: name for name in names for key in (name, str(int(dataset_number(name))), dataset_title(name))}
    meant = by_key.get(closest(str(wrong), by_key) or "")
    return f" Did you mean {int(dataset_number(meant))} ({meant})?" if meant else ""
