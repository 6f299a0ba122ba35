"""Read checkpoints without executing what is in them, and tell damaged files from those of other programs."""

from __future__ import annotations

import contextlib
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from nnunetv2_crln.errors import UserError, listing

MODEL_ENTRIES = ("network_weights", "trainer_name", "init_args")
"""Entries of a checkpoint that a network is built from."""


class DamagedError(Exception):
    """Error with the type of torch's error, whose own text advises to load without ``weights_only``."""


def read_checkpoint(path: str | Path, device: torch.device, mmap: bool = False) -> dict:
    """Read the checkpoint of a training, of this package or of nnU-Net.

    Args:
        path: Path of the checkpoint.
        device: Device for its tensors.
        mmap: Leave the tensors, often gigabytes, on the disk until they are used.

    Returns:
        The checkpoint.

    Raises:
        DamagedError: The file is missing or damaged.
        UserError: The file may be sound, but the system cannot read it now, or it is not a checkpoint of nnU-Net.
    """
    try:
        with _numpy_allowed():
            content = torch.load(str(path), map_location=device, weights_only=True, mmap=mmap)
    except FileNotFoundError as error:
        raise DamagedError(type(error).__name__) from error
    except Exception as error:  # a damaged file makes torch raise nearly anything, IndexError and TypeError included
        if isinstance(error, OSError) and error.strerror:
            raise UserError(
                f"Checkpoint {path} cannot be read ({error.strerror}). Check the disk and permissions, then run the "
                "command again."
            ) from error
        if not _is_whole(path):
            raise DamagedError(type(error).__name__) from error
        raise UserError(_why_not_loaded(path, error)) from error
    if not isinstance(content, dict):
        raise UserError(
            f"{path} holds a {type(content).__name__} of another program; expected a checkpoint that a training of "
            "nnU-Net has written. Name another file."
        )
    return content


def read_model(path: str | Path) -> dict:
    """Read a checkpoint whose network is to be used; its tensors stay on the disk until then.

    Args:
        path: Path of the checkpoint.

    Returns:
        The checkpoint.

    Raises:
        UserError: It is missing or damaged, or nothing tells which network to build.
    """
    try:
        checkpoint = read_checkpoint(path, torch.device("cpu"), mmap=True)
    except DamagedError as damage:
        raise UserError(
            f"Checkpoint {path} is damaged ({damage}). Copy it again, name another checkpoint of the fold with -chk, "
            "or train the fold again."
        ) from damage
    if missing := [entry for entry in MODEL_ENTRIES if entry not in checkpoint]:
        raise UserError(
            f"{path} has no {listing(missing)}, which the checkpoints of nnU-Net's trainings have: another program "
            "wrote it. Name another checkpoint with -chk."
        )
    return checkpoint


def _is_whole(path: str | Path) -> bool:
    """Tell whether all parts of the archive that torch writes are there; each has a checksum."""
    try:
        with zipfile.ZipFile(path) as archive:
            return bool(archive.namelist()) and archive.testzip() is None
    except Exception:  # as torch, the module raises nearly anything for a damaged file
        return False


def _why_not_loaded(path: str | Path, error: Exception) -> str:
    if refused := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return (
            f"Checkpoint {path} is not damaged, but holds objects of another trainer or program ({refused[1]}). This "
            "package loads tensors and plain values only, because other objects may execute code. Use the checkpoint "
            "with the trainer that wrote it, or name another one."
        )
    reason = str(error).partition("\n")[0][:300]
    return (
        f"Checkpoint {path} is not damaged, but cannot be loaded ({type(error).__name__}: {reason}). Remove the cause, "
        "such as a device that is full or missing, and keep the file."
    )


@contextlib.contextmanager
def _numpy_allowed() -> Iterator[None]:
    """Allow NumPy's numbers, which nnU-Net's own checkpoints log; ``weights_only`` refuses them although harmless."""
    multiarray = (getattr(np, "_core", None) or np.core).multiarray
    functions = [
        (getattr(multiarray, name), f"numpy.{core}.multiarray.{name}")
        for name in ("scalar", "_reconstruct")
        for core in ("core", "_core")  # the name of this module in files of NumPy 1 and 2
    ]
    dtypes = [type(np.dtype(kind)) for kind in ("bool", "float16", "float32", "float64", "int32", "int64")]
    with torch.serialization.safe_globals([*functions, np.ndarray, np.dtype, *dtypes]):
        yield
