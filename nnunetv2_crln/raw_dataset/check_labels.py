"""Check the labels of the labelled cases; unlike in nnU-Net's own check, the error message names each wrong file."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.raw_dataset.cases import find_labelled_cases
from nnunetv2_crln.raw_dataset.dataset_json import read_dataset_json
from nnunetv2_crln.raw_dataset.survey import direction_of, reader_class_of
from nnunetv2_crln.utilities.nifti import nifti_is_finite
from nnunetv2_crln.utilities.parallel import run_parallel


def verify_labels(raw_dataset_folder: str | Path, processes: int = 1, show_progress: bool = True) -> None:
    """Open every label of the labelled cases and compare it with dataset.json and its image.

    Args:
        raw_dataset_folder: ``nnUNet_raw/DatasetXXX_Name``, already checked by ``check_dataset``.
        processes: Number of processes that read images.
        show_progress: Show a progress bar.

    Raises:
        UserError: Labels are wrong; the message names the first few of them.
    """
    folder = Path(raw_dataset_folder)
    dataset_json = read_dataset_json(folder)
    allowed = allowed_values(folder / "dataset.json", dataset_json)
    labelled = find_labelled_cases(folder, dataset_json)
    reader_class = reader_class_of(dataset_json, {case: files["images"] for case, files in labelled.items()})
    tasks = {case: (files["images"], files["label"], allowed, reader_class) for case, files in labelled.items()}
    errors = []
    for outcome in run_parallel(check_label, tasks, processes, "Opening every label", show_progress):
        texts = outcome.value if outcome.error is None else [outcome.error]
        errors += [f"{Path(labelled[outcome.name]['label']).parent.name}/{text}" for text in texts]
    if errors:
        raise UserError(
            f"{folder} has {len(errors)} wrong label(s): {listing(sorted(errors))}. Correct these files, or remove "
            "their cases from imagesTr and labelsTr."
        )


def allowed_values(path: Path, dataset_json: dict) -> list[int]:
    """Return the values that may occur in a label.

    Args:
        path: Path of dataset.json, for the message.
        dataset_json: Content of dataset.json.

    Returns:
        Sorted values.

    Raises:
        UserError: The values are not 0, 1, 2 and so on, or the ignore label is not the last one.
    """
    labels = {
        name: entry if isinstance(entry, (list, tuple)) else [entry] for name, entry in dataset_json["labels"].items()
    }
    values = sorted({value for entry in labels.values() for value in entry})
    in_place = labels["background"] == [0] and labels.get("ignore", values[-1:]) == values[-1:]
    if values != list(range(len(values))) or not in_place:
        raise UserError(
            f"{path}: 'labels' has the values {values}; nnU-Net expects 0 (background) to {len(values) - 1} without a "
            "gap, the ignore label last. Change the entry and the values in labelsTr."
        )
    return values


def check_label(images: list[str], label: str, allowed: list[int], reader_class: type[BaseReaderWriter]) -> list[str]:
    """Describe the faults of one label.

    Args:
        images: Channel files of the image.
        label: Label file.
        allowed: Values that may occur.
        reader_class: Reader of nnU-Net for both.

    Returns:
        One text per fault; empty if the label is correct.
    """
    name = Path(label).name
    try:
        if not nifti_is_finite(label):
            return [f"{name} has NaN or infinite voxels"]
        voxels, properties = reader_class().read_seg(label)
        image, image_properties = reader_class().read_images(images[:1])
    except Exception as error:
        return [f"{name} or its image cannot be read ({textwrap.shorten(str(error), 160) or type(error).__name__})"]
    return [f"{name} {text}" for text in _faults(voxels, properties, image, image_properties, allowed)]


def _faults(voxels: np.ndarray, properties: dict, image: np.ndarray, image_properties: dict, allowed) -> Iterator[str]:
    unknown = np.setdiff1d(np.unique(voxels), allowed)
    if unknown.size:
        yield f"has the value(s) {listing(f'{value:g}' for value in unknown)}, but dataset.json knows {allowed}"
    if voxels.shape[1:] != image.shape[1:]:
        yield f"has {voxels.shape[1:]} voxels, its image {image.shape[1:]}"
    elif not np.allclose(properties["spacing"], image_properties["spacing"]):
        yield f"has the spacing {properties['spacing']} mm, its image {image_properties['spacing']} mm"
    elif not np.allclose(direction_of(properties), direction_of(image_properties), atol=1e-2):
        yield "has another direction than its image: one of them is flipped or turned"
