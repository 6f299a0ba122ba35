"""Write, read and remove the three files of a preprocessed case, and the record that this package adds to them."""

from __future__ import annotations

import os
from collections.abc import Container
from pathlib import Path

import numpy as np
from batchgenerators.utilities.file_and_folder_operations import load_pickle
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import CASE_RECORD

# Ordered as the files get their final names: nnU-Net lists cases by the image, so it comes last.
SUFFIXES = ("_seg.b2nd", ".pkl", ".b2nd")


def put_in_place(temporary: Path, folder: Path, case: str) -> None:
    """Move the finished files of a preprocessed case into their folder, on the same file system.

    Args:
        temporary: Folder with the finished files.
        folder: Folder for them.
        case: Identifier of the case.
    """
    for suffix in SUFFIXES:
        os.replace(temporary / f"{case}{suffix}", folder / f"{case}{suffix}")


def save_case(image: np.ndarray, nonzero: np.ndarray, properties: dict, path: Path, patch_size: list[int]) -> None:
    """Save a case as nnU-Net's preprocessor does.

    Args:
        image: Preprocessed image, (C, X, Y, Z).
        nonzero: Nonzero region, (1, X, Y, Z): 0 inside and -1 outside.
        properties: Properties of the case from nnU-Net.
        path: Path without suffix.
        patch_size: Patch size of the configuration; it determines the chunks and thus the speed of loading patches.

    Raises:
        UserError: It cannot be written.
    """
    image = image.astype(np.float32, copy=False)
    nonzero = nonzero.astype(np.int16, copy=False)
    blocks, chunks = comp_blosc2_params(image.shape, tuple(patch_size), image.itemsize)
    blocks_seg, chunks_seg = comp_blosc2_params(nonzero.shape, tuple(patch_size), nonzero.itemsize)
    try:
        nnUNetDatasetBlosc2.save_case(
            image,
            nonzero,
            properties,
            str(path),
            chunks=chunks,
            blocks=blocks,
            chunks_seg=chunks_seg,
            blocks_seg=blocks_seg,
        )
    except (OSError, RuntimeError) as error:  # blosc2 hides the reason
        raise UserError(f"the result cannot be written to {path.parent} ({error}): is the disk full?") from error


def case_record(folder: str | Path, case: str, names: Container[str] | None = None) -> dict | None:
    """Read the plugin's entry in the properties of a preprocessed case.

    Args:
        folder: Folder of the preprocessed cases.
        case: Identifier of the case.
        names: Names of the folder's files, if known: one listing is faster than three queries per case.

    Returns:
        The entry; None if the case is incomplete, damaged or was not made by this plugin.

    Raises:
        UserError: The file is there, but the system cannot read it now.
    """
    if names is None:
        names = [f"{case}{suffix}" for suffix in SUFFIXES if (Path(folder) / f"{case}{suffix}").is_file()]
    if not all(f"{case}{suffix}" in names for suffix in SUFFIXES):
        return None
    file = Path(folder) / f"{case}.pkl"
    try:
        return load_pickle(str(file)).get(CASE_RECORD)
    except FileNotFoundError:  # removed meanwhile
        return None
    except OSError as error:  # says nothing of the case: to leave it out would change a training without a word
        raise UserError(
            f"{file} cannot be read ({error.strerror}). Check the disk and permissions, then run the command again."
        ) from error
    except Exception:
        # A damaged file must not end the command: the case is done again.
        return None


def damaged_cases(folder: Path) -> list[str]:
    """Return the preprocessed cases in a folder of which a file cannot be opened; voxels are not read.

    Truncated files are among them, because the end of a file holds the directory of its parts.
    """
    cases = nnUNetDatasetBlosc2.get_identifiers(str(folder)) if folder.is_dir() else []
    return [case for case in sorted(cases) if not _opens(folder, case)]


def _opens(folder: Path, case: str) -> bool:
    try:
        nnUNetDatasetBlosc2(str(folder), [case]).load_case(case)
    except Exception:  # blosc2 and pickle raise errors of many kinds
        return False
    return True


def is_done(folder: Path, case: str, key: str, files: dict[str, list[int]]) -> bool:
    """Check whether a case is complete and was made under these plans from these files.

    Args:
        folder: Folder of the preprocessed cases.
        case: Identifier of the case.
        key: Hash of the plans by :func:`plan_key`.
        files: Record of the channel files by ``source_record``.

    Returns:
        True if the case need not be done again.
    """
    return case_record(folder, case) == {"plan_key": key, "files": files}


def remove_case(folder: Path, case: str) -> None:
    """Delete a preprocessed case, the image first, because without it nnU-Net ignores the other files.

    Args:
        folder: Folder of the preprocessed cases.
        case: Identifier of the case.
    """
    for suffix in reversed(SUFFIXES):
        (folder / f"{case}{suffix}").unlink(missing_ok=True)


def remove_other_cases(folder: Path, cases: set[str]) -> list[str]:
    """Delete preprocessed cases whose images left imagesUl; otherwise training would still use them.

    Args:
        folder: Folder of the preprocessed cases.
        cases: Identifiers of the cases in imagesUl.

    Returns:
        Identifiers of the removed cases.
    """
    gone = sorted(set(nnUNetDatasetBlosc2.get_identifiers(str(folder))) - cases)
    for case in gone:
        remove_case(folder, case)
    return gone
