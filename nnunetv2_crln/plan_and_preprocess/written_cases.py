"""Check preprocessed cases as they were written, because training reads these files and no earlier check does."""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.errors import exact, listing
from nnunetv2_crln.preprocessed_dataset.commands import labelled_folder
from nnunetv2_crln.preprocessed_dataset.formats import dataset_in
from nnunetv2_crln.preprocessed_dataset.plans import one_configuration_per_data
from nnunetv2_crln.raw_dataset.cases import find_labelled_cases, number_of_channels
from nnunetv2_crln.raw_dataset.check_labels import allowed_values
from nnunetv2_crln.raw_dataset.dataset_json import read_dataset_json
from nnunetv2_crln.raw_dataset.folders import DatasetFolders
from nnunetv2_crln.utilities.parallel import run_all
from nnunetv2_crln.utilities.print_warnings import print_warnings

NOT_FINITE = (
    "the preprocessed image has NaN or infinite voxels: look in the file for NaN, infinity, or a huge value that marks "
    "missing data (often -3.4e38), and replace it, or remove the case"
)
CONSTANT = (
    "the preprocessed image is constant: nothing can be learned from it; export the image again, or remove the case"
)


@dataclass(frozen=True)
class Inspection:
    """Fault and oddity of one preprocessed case; both may be empty."""

    fault: str = ""
    oddity: str = ""


def inspect_image(image: np.ndarray, channels: int) -> Inspection:
    """Check a preprocessed image.

    Args:
        image: The image, (C, X, Y, Z).
        channels: Number of channels in dataset.json.

    Returns:
        Its fault and oddity.
    """
    if fault := channel_fault(len(image), channels):
        return Inspection(fault=fault)
    if not np.isfinite(image).all():
        # One such voxel turns the loss of its batch, and then the network's weights, into NaN.
        return Inspection(fault=NOT_FINITE)
    return Inspection(oddity=CONSTANT if image.min() == image.max() else "")


def channel_fault(found: int, expected: int) -> str:
    """Return what is wrong with a number of channels; empty if it is right.

    Args:
        found: Number of channels of an image.
        expected: Number of channels in dataset.json.

    Returns:
        Fault and the way out.
    """
    if found == expected:
        return ""
    return (
        f"the image has {found} channel(s), dataset.json names {expected}: convert it to {expected} (from grey to "
        "colour, without alpha, one time point alone), or remove the case"
    )


def inspect_labelled_case(folder: str, case: str, allowed: Collection[int], channels: int) -> Inspection:
    """Read and check one preprocessed labelled case.

    Args:
        folder: Folder of the preprocessed labelled cases.
        case: Identifier of the case.
        allowed: Label values that may occur; -1 marks voxels outside the image.
        channels: Number of channels in dataset.json.

    Returns:
        Fault and oddity of the case.

    Raises:
        FileNotFoundError: The folder has no preprocessed cases.
    """
    if (dataset := dataset_in(folder, [case])) is None:
        raise FileNotFoundError(f"{folder} has no preprocessed cases of one format")
    image, labels, *_ = dataset.load_case(case)
    unknown = np.setdiff1d(np.unique(labels[:]), [-1, *allowed])
    if unknown.size:
        return Inspection(
            f"its label holds the value(s) {listing(map(exact, unknown))}, but dataset.json knows "
            f"{sorted(allowed)}: correct the label"
        )
    return inspect_image(image[:], channels)


def check_written_labelled(
    folders: DatasetFolders, plans_manager: PlansManager, configurations: dict[str, int], show_progress: bool
) -> list[str]:
    """Check the labelled cases as they were written, by this command or by nnU-Net's own.

    Args:
        folders: Folders of the dataset.
        plans_manager: nnU-Net's plans.
        configurations: Number of processes by configuration.
        show_progress: Show a progress bar.

    Returns:
        Text for each case that would spoil a training.
    """
    failed = []
    for name in one_configuration_per_data(plans_manager, configurations):
        data = labelled_folder(folders.preprocessed, plans_manager, name)
        faults, oddities = check_labelled_cases(folders.raw, data, configurations[name], show_progress)
        print_warnings([f"{text} ({name})" for text in oddities])
        for text in faults:
            print(f"Failed: {text} ({name})", file=sys.stderr)
        failed += [f"{text} ({name})" for text in faults]
    return failed


def check_labelled_cases(
    raw_dataset_folder: str | Path,
    data_folder: str | Path,
    processes: int = 1,
    show_progress: bool = True,
) -> tuple[list[str], list[str]]:
    """Check all preprocessed labelled cases of one configuration.

    Args:
        raw_dataset_folder: ``nnUNet_raw/DatasetXXX_Name``.
        data_folder: ``nnUNet_preprocessed/DatasetXXX_Name/<data_identifier>``; may be missing.
        processes: Number of processes that read cases.
        show_progress: Show a progress bar.

    Returns:
        Faults and oddities, each with the source file.
    """
    if (dataset := dataset_in(data_folder)) is None:  # a mixture of formats is refused by require_labelled_data
        return [], []
    dataset_json = read_dataset_json(raw_dataset_folder)
    allowed = allowed_values(Path(raw_dataset_folder) / "dataset.json", dataset_json)
    sources = find_labelled_cases(raw_dataset_folder, dataset_json)
    present = [case for case in dataset.identifiers if case in sources]
    tasks = {case: (str(data_folder), case, allowed, number_of_channels(dataset_json)) for case in present}
    found, unreadable = run_all(inspect_labelled_case, tasks, processes, "Checking what was written", show_progress)
    files = {case: "imagesTr/" + Path(sources[case]["images"][0]).name for case in present}
    faults = [f"{files[case]}: {item.fault}" for case, item in found.items() if item.fault]
    faults += [f"{files[case]}: cannot be read after preprocessing ({text})" for case, text in unreadable.items()]
    return faults, [f"{files[case]}: {item.oddity}" for case, item in found.items() if item.oddity]
