"""Save and load checkpoints such that a crash cannot destroy them."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.utilities.checkpoint_files import DamagedError, read_checkpoint
from nnunetv2_crln.utilities.files import finished_file, temporary_beside


def previous_file(path: str | Path) -> Path:
    """Return the path that keeps the checkpoint replaced by a newer one."""
    path = Path(path)
    return path.with_name(f"{path.stem}_previous{path.suffix}")


def plain(value: Any) -> Any:
    """Convert numpy scalars and arrays to Python numbers and lists, which ``torch.load(weights_only=True)`` reads."""
    if isinstance(value, dict):
        return {plain(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(v) for v in value)
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    return value


def save(checkpoint: dict, path: str | Path, keep_previous: bool) -> None:
    """Write a checkpoint to a temporary file, flush it to the disk, then move it into place in one step.

    Args:
        checkpoint: Tensors and plain types.
        path: Final path.
        keep_previous: Keep an existing file as :func:`previous_file`.

    Raises:
        UserError: The file cannot be written, e.g. because the disk is full; an existing file is untouched.
    """
    path = Path(path)
    try:
        with finished_file(path) as temporary:
            with open(temporary, "wb") as file:
                torch.save(checkpoint, file)
            if keep_previous and path.exists():
                _keep(path)
    except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
        raise UserError(
            f"Checkpoint {path} cannot be written ({_reason(error)}). Checkpoints written before are untouched. "
            "Make room or correct the permissions, then continue with nnUNetv2_train ... --c."
        ) from error


def _reason(error: BaseException) -> str:
    """Return the operating system's message, even if torch hides it behind an error of its own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _keep(path: Path) -> None:
    """Give the file a second name; it always keeps its own, which nnU-Net's ``--c`` looks for."""
    second_name = temporary_beside(previous_file(path))
    try:
        os.link(path, second_name)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, second_name)
    os.replace(second_name, previous_file(path))


def load(path: str | Path, device: torch.device) -> dict:
    """Load a checkpoint or, if it is damaged, the previous one.

    Args:
        path: Path of the checkpoint.
        device: Device for its tensors.

    Returns:
        The checkpoint.

    Raises:
        UserError: Neither can be read, or the first is sound and cannot be loaded, as that of another program.
    """
    fallback = previous_file(path)
    try:
        return read_checkpoint(path, device)
    except DamagedError as damage:
        if not fallback.exists():
            raise UserError(
                f"Checkpoint {path} cannot be read ({damage}) and there is no {fallback.name} beside it. "
                "Remove the file to continue from an older checkpoint or to start from scratch."
            ) from damage
        print(f"WARNING: checkpoint {path} cannot be read ({damage}). Continuing from {fallback.name}.")
    try:
        return read_checkpoint(fallback, device)
    except DamagedError as damage:
        raise UserError(
            f"Neither checkpoint {path} nor {fallback.name} beside it can be read ({damage}). "
            "Remove both files to continue from an older checkpoint or to start from scratch."
        ) from damage
