"""Write the generated patients as a raw nnU-Net dataset with unlabelled images, and the split of its labelled cases."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_crln.demo.anatomy import LABELS, draw_case
from nnunetv2_crln.layout import (
    IMAGES_LABELLED,
    IMAGES_UNLABELLED,
    LABELS_LABELLED,
    LABELS_UNLABELLED,
    SPLITS_FILE,
)
from nnunetv2_crln.utilities.json_files import write_json

DATASET_NAME = "Dataset999_DemoHeart"
SPACING = (1.8, 1.8, 2.5)  # mm, x y z

# Folder of images, folder of labels, prefix of the cases, first part of their seeds.
_GROUPS = {
    "labelled": (IMAGES_LABELLED, LABELS_LABELLED, "labelled", 0),
    "unlabelled": (IMAGES_UNLABELLED, LABELS_UNLABELLED, "unlabelled", 1),
    "held out": (IMAGES_LABELLED, LABELS_LABELLED, "held_out", 2),
}


def write_demo_dataset(folder: str | Path, labelled: int, unlabelled: int, held_out: int, seed: int = 0) -> Path:
    """Write the dataset of the demo; the same arguments write the same patients.

    A patient depends only on the seed, its group and its number: changing the number of cases of one group does not
    change the others.

    Args:
        folder: Folder of the dataset, such as ``nnUNet_raw/Dataset999_DemoHeart``.
        labelled: Number of cases in imagesTr and labelsTr to train on.
        unlabelled: Number of cases in imagesUl. Their labels go to labelsUl, which is only for measuring.
        held_out: Number of further cases in imagesTr and labelsTr, for comparing trainings on the others.
        seed: Seed of the patients.

    Returns:
        ``folder``.
    """
    folder = Path(folder)
    for group, count in (("labelled", labelled), ("unlabelled", unlabelled), ("held out", held_out)):
        images, labels, prefix, stream = _GROUPS[group]
        for number in range(count):
            image, label = draw_case(np.random.default_rng([seed, stream, number]))
            case = _case(prefix, number)
            _write(image, folder / images / f"{case}_0000.nii.gz")
            _write(label, folder / labels / f"{case}.nii.gz")
    description = {
        "channel_names": {"0": "MRI"},
        "labels": LABELS,
        "numTraining": labelled + held_out,
        "file_ending": ".nii.gz",
        "name": folder.name,
        "description": f"Generated hearts, seed {seed}: no patient's data. Written by nnUNetv2_crln_demo.",
    }
    write_json(description, folder / "dataset.json")
    return folder


def write_demo_split(preprocessed_dataset_folder: str | Path, labelled: int, held_out: int) -> None:
    """Write nnU-Net's split with one fold: it trains on the labelled cases and validates on those held out.

    Args:
        preprocessed_dataset_folder: ``nnUNet_preprocessed/DatasetXXX_Name``.
        labelled: Number of cases to train on, as for :func:`write_demo_dataset`.
        held_out: Number of cases held out.
    """
    fold = {
        key: [_case(prefix, number) for number in range(count)]
        for key, prefix, count in (("train", "labelled", labelled), ("val", "held_out", held_out))
    }
    write_json([fold], Path(preprocessed_dataset_folder) / SPLITS_FILE)


def _case(prefix: str, number: int) -> str:
    return f"{prefix}_{number:03d}"


def _write(array: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    sitk.WriteImage(image, str(path))
