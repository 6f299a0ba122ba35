"""Find the reader of nnU-Net that opens the files of a dataset."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
from nnunetv2.imageio import reader_writer_registry
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.raw_dataset.read_errors import explain_read_error


def reader_class_of(
    dataset_json: Mapping[str, Any], example_file: str | Path, is_label: bool = False
) -> type[BaseReaderWriter]:
    """Return nnU-Net's reader for a dataset.

    Args:
        dataset_json: Content of dataset.json.
        example_file: File that is opened to try the reader, such as the first labelled image.
        is_label: The file is a label.

    Returns:
        Class of the reader.

    Raises:
        UserError: No reader supports this file ending, or none can open the file.
    """
    example = str(example_file)
    try:
        with quiet_reader_search():
            return reader_writer_registry.determine_reader_writer_from_dataset_json(
                dataset_json, example, verbose=False
            )
    except RuntimeError as error:
        ending = dataset_json["file_ending"]
        if ending.lower() in image_endings():
            reason = _why_unreadable(example, ending, is_label)
            raise UserError(f"No reader of nnU-Net opens {example}: {reason}. Correct or replace it.") from error
        raise UserError(
            f"No reader of nnU-Net opens {example} (file_ending {ending!r}). "
            f"Expected a valid image in one of {', '.join(sorted(image_endings()))}. Convert or replace it."
        ) from error


@contextlib.contextmanager
def quiet_reader_search() -> Iterator[None]:
    """Keep nnU-Net from printing the traceback of each reader that it tries in vain, as for every 3D TIFF file."""
    with mock.patch.object(reader_writer_registry, "traceback", SimpleNamespace(print_exc=lambda: None)):
        yield


def _why_unreadable(example: str, ending: str, is_label: bool) -> str:
    for reader in reader_writer_registry.LIST_OF_IO_CLASSES:
        if ending.lower() in reader.supported_file_endings:
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    reader().read_images((example,))
            except Exception as error:
                return explain_read_error(example, error, is_label)
    return "unknown reason"


def affine_of(nibabel_stuff: Mapping[str, Any]) -> np.ndarray:
    """Return the affine of the grid on which nnU-Net's nibabel readers return the voxels.

    Args:
        nibabel_stuff: Geometry as the reader returns it; one that reorients images keeps the file's affine beside that
            of the reoriented voxels.

    Returns:
        Affine in mm, (4, 4), float64.
    """
    return np.asarray(nibabel_stuff.get("reoriented_affine", nibabel_stuff["original_affine"]), dtype=float)


def image_endings() -> tuple[str, ...]:
    """Return the file endings that nnU-Net's readers support."""
    readers = reader_writer_registry.LIST_OF_IO_CLASSES
    return tuple({ending for reader in readers for ending in reader.supported_file_endings})
