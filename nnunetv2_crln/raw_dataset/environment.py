"""Read nnU-Net's environment variables."""

from __future__ import annotations

import os
from pathlib import Path

from nnunetv2_crln.errors import UserError, closest


def required_folder(variable: str) -> Path:
    """Return the folder in one of nnU-Net's environment variables, which may not exist yet.

    Raises:
        UserError: The variable is not set; the message names one that resembles it.
    """
    value = os.environ.get(variable)
    if not value:
        raise UserError(
            f"The environment variable {variable} is not set{similar_variable(variable)}. "
            f"Expected a folder: export {variable}=/path/to/folder "
            "(see https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/setting_up_paths.md)."
        )
    return Path(value)


def similar_variable(missing: str) -> str:
    """Return ", but X is" for an environment variable that is set and resembles a missing one; else nothing."""
    meant = closest(missing, os.environ, similarity=0.8)
    return f", but {meant} is" if meant else ""
