"""Name the preprocessed cases whose files cannot be read, where libraries show a traceback."""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.raw_dataset.read_errors import last_line
from nnunetv2_crln.training.dataloading.joined_cases import JoinedCases
from nnunetv2_crln.utilities.advice import PREPROCESS


@contextlib.contextmanager
def naming_damaged_cases(dataset: Any) -> Iterator[None]:
    """Turn an error of a loader into one that names the damaged cases, if there are any.

    Args:
        dataset: nnU-Net's dataset, or joined ones; None, of a loader without one, leaves errors as they are.

    Yields:
        Nothing; the loader makes its batch in the ``with`` block.

    Raises:
        UserError: The block failed, and cases of the dataset cannot be opened.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        found = unreadable_cases(dataset) if dataset is not None else Unreadable()
        if found.unreachable:
            raise UserError(
                f"{len(found.unreachable)} preprocessed case(s) cannot be opened: {_listed(found.unreachable)}. "
                "The files may be whole: look whether the disk is there, may be read, and how many files may be open "
                "(ulimit -n), then continue with --c."
            ) from error
        if found.damaged:
            raise UserError(
                f"{len(found.damaged)} preprocessed case(s) cannot be read: {_listed(found.damaged)}. They are "
                "damaged or incomplete, for example after a full disk or an interrupted copy: remove these files and "
                f"run {PREPROCESS} again."
            ) from error
        raise


@dataclass
class Unreadable:
    """Reason by pattern of the case's files, such as ``/folder/case_1.*``, for the cases that cannot be opened.

    Attributes:
        damaged: Cases whose files the libraries cannot read.
        unreachable: Cases whose files the system does not give.
    """

    damaged: dict[str, str] = field(default_factory=dict)
    unreachable: dict[str, str] = field(default_factory=dict)


def _listed(reasons: dict[str, str]) -> str:
    return listing(f"{files} ({reason})" for files, reason in reasons.items())


def unreadable_cases(dataset: Any) -> Unreadable:
    """Open every case of a dataset.

    Args:
        dataset: nnU-Net's dataset, or joined ones.

    Returns:
        Those that cannot be opened.
    """
    found = Unreadable()
    for case in dataset.identifiers:
        try:
            dataset.load_case(case)
        except Exception as error:  # whatever the libraries of three file formats raise
            source = dataset.dataset_of(case) if isinstance(dataset, JoinedCases) else dataset
            files = Path(source.source_folder) / case
            if reason := _refused_by_the_system(files):
                found.unreachable[f"{files}.*"] = reason
            else:
                found.damaged[f"{files}.*"] = last_line(error)
    return found


def _refused_by_the_system(files: Path) -> str:
    """Return why the files of a case cannot be read at all, which the libraries do not tell; empty if they can."""
    case = glob.escape(files.name)
    try:
        for file in [*files.parent.glob(f"{case}.*"), *files.parent.glob(f"{case}_seg.*")]:
            with open(file, "rb") as opened:
                while opened.read(1 << 20):
                    pass
    except OSError as error:
        return error.strerror or str(error)
    return ""
