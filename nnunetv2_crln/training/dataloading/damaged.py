"""Name the preprocessed cases whose files cannot be read, where libraries show a traceback."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
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
        if damaged := damaged_cases(dataset) if dataset is not None else {}:
            raise UserError(
                f"{len(damaged)} preprocessed case(s) cannot be read: "
                f"{listing(f'{files} ({reason})' for files, reason in damaged.items())}. They are damaged or "
                "incomplete, for example after a full disk or an interrupted copy: remove these files and run "
                f"{PREPROCESS} again."
            ) from error
        raise


def damaged_cases(dataset: Any) -> dict[str, str]:
    """Open every case of a dataset.

    Args:
        dataset: nnU-Net's dataset, or joined ones.

    Returns:
        Reason by pattern of the case's files, such as ``/folder/case_1.*``, for each case that cannot be opened.
    """
    damaged = {}
    for case in dataset.identifiers:
        try:
            dataset.load_case(case)
        except Exception as error:  # whatever the libraries of three file formats raise
            source = dataset.dataset_of(case) if isinstance(dataset, JoinedCases) else dataset
            damaged[f"{Path(source.source_folder) / case}.*"] = last_line(error)
    return damaged
