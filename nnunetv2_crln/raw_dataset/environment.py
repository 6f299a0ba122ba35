"""Read nnU-Net's environment variables."""

from __future__ import annotations

import os
from pathlib import Path

from nnunetv2_crln.errors import UserError, closest

FOLDER_VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


def required_folder(variable: str) -> Path:
    """Return the folder in one of nnU-Net's environment variables, which may not exist yet.

    Raises:
        UserError: The variable is not set (the message names one that resembles it), or its value cannot be meant.
    """
    value = os.environ.get(variable)
    if not value:
        raise UserError(
            f"The environment variable {variable} is not set{similar_variable(variable)}. "
            f"Expected a folder: export {variable}=/path/to/folder "
            "(see https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/setting_up_paths.md)."
        )
    if fault := folder_fault(variable):
        raise UserError(f"The environment variable {variable} is {value!r}: {'. '.join(fault)}")
    return Path(value)


def folder_fault(variable: str) -> tuple[str, str] | None:
    """Find out why the value of one of nnU-Net's environment variables cannot be meant.

    Args:
        variable: Name of the variable, which is set.

    Returns:
        The fault, and how to correct it; None if there is none. The folder need not exist.
    """
    value = os.environ[variable]
    if value.startswith("~"):
        return (
            "nnU-Net does not replace ~ by the home directory, it would make a folder of that name",
            f"Write the whole path: export {variable}={os.path.expanduser(value)}",
        )
    for other in FOLDER_VARIABLES:
        if (
            other != variable
            and (place := os.environ.get(other))
            and os.path.realpath(place) == os.path.realpath(value)
        ):
            return (
                f"{other} is the same folder, and nnU-Net would overwrite the dataset.json of the one with the other's",
                f"Choose a folder of its own for each of {', '.join(FOLDER_VARIABLES)}.",
            )
    return None


def similar_variable(missing: str) -> str:
    """Return ", but X is" for an environment variable that is set and resembles a missing one; else nothing."""
    meant = closest(missing, os.environ, similarity=0.8)
    return f", but {meant} is" if meant else ""
