"""A tiny, learnable nnU-Net raw dataset with labelled, unlabelled and test cases, written in well under a second."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk


def make_case(
    rng: np.random.Generator, shape: Sequence[int] = (24, 24, 24), channels: int = 1, classes: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """One random case: a bright ellipsoid per foreground class on a noisy background.

    Args:
        rng: Source of randomness.
        shape: Size in voxels, axes as in arrays (Z, Y, X).
        channels: Number of image channels.
        classes: Number of classes including background.

    Returns:
        Image (channels, *shape), float32, class c has mean intensity 100 * c + 50; labels (*shape), uint8.
    """
    grid = np.stack(np.meshgrid(*(np.arange(size) for size in shape), indexing="ij"))
    size = np.asarray(shape, dtype=float)
    column = (-1, *[1] * len(shape))
    labels = np.zeros(shape, dtype=np.uint8)
    for label in range(1, classes):
        # Each class has its own octant of the first axes, so that later classes do not hide earlier ones.
        low = np.array([0.3 if (label >> axis) & 1 else 0.7 for axis in range(len(shape))])
        centre = size * (low + rng.uniform(-0.08, 0.08, len(shape)))
        radius = np.maximum(size * rng.uniform(0.14, 0.22, len(shape)), 1.0)
        distance = (((grid - centre.reshape(column)) / radius.reshape(column)) ** 2).sum(0)
        labels[distance <= 1] = label
    contrast = 1 + 0.5 * np.arange(channels).reshape(column)
    image = (100.0 * labels + 50.0)[None] * contrast + rng.normal(0, 20, (channels, *shape))
    return image.astype(np.float32), labels


def write_image(array: np.ndarray, path: Path, spacing: Sequence[float] = (1, 1, 1)) -> None:
    """Write one array (Z, Y, X) with SimpleITK; `spacing` in mm, in the array's axis order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing([float(value) for value in reversed(spacing)])
    sitk.WriteImage(image, str(path))


def write_dataset(
    raw_root: str | Path,
    dataset_id: int = 999,
    name: str = "Synthetic",
    labelled: int = 3,
    unlabelled: int = 4,
    test: int = 1,
    shape: Sequence[int] = (24, 24, 24),
    channels: int = 1,
    classes: int = 3,
    hidden_labels: bool = True,
    seed: int = 0,
    spacing: Sequence[float] = (1, 1, 1),
    channel_name: str = "MRI",
    file_ending: str = ".nii.gz",
) -> Path:
    """Write a raw dataset.

    Args:
        raw_root: ``nnUNet_raw``; made if missing.
        dataset_id: Number of the dataset.
        name: Name after the number.
        labelled: Number of cases in imagesTr/labelsTr, named ``lab_000`` and so on.
        unlabelled: Number of cases in imagesUl, named ``unl_000`` and so on; 0 writes no imagesUl.
        test: Number of cases in imagesTs (with labelsTs), named ``tst_000`` and so on.
        shape: Size in voxels (Z, Y, X).
        channels: Number of image channels.
        classes: Number of classes including background.
        hidden_labels: Write the true labels of the unlabelled cases into labelsUl.
        seed: Seed of all images.
        spacing: In mm, (Z, Y, X).
        channel_name: Decides nnU-Net's normalisation: "CT" for CT, anything else for z-score.
        file_ending: Image format; reading NIfTI through SimpleITK turns NaN into 0, ".nrrd" keeps it.

    Returns:
        The dataset's folder, ``raw_root/DatasetXXX_Name``.
    """
    folder = Path(raw_root) / f"Dataset{dataset_id:03d}_{name}"
    rng = np.random.default_rng(seed)
    for prefix, count, images, label_folder in (
        ("lab", labelled, "imagesTr", "labelsTr"),
        ("unl", unlabelled, "imagesUl", "labelsUl" if hidden_labels else None),
        ("tst", test, "imagesTs", "labelsTs"),
    ):
        for index in range(count):
            case = f"{prefix}_{index:03d}"
            image, labels = make_case(rng, shape, channels, classes)
            for channel in range(channels):
                write_image(image[channel], folder / images / f"{case}_{channel:04d}{file_ending}", spacing)
            if label_folder:
                write_image(labels, folder / label_folder / f"{case}{file_ending}", spacing)
    dataset_json = {
        "channel_names": {str(c): channel_name if channels == 1 else f"{channel_name}{c}" for c in range(channels)},
        "labels": {"background": 0, **{f"class_{c}": c for c in range(1, classes)}},
        "numTraining": labelled,
        "file_ending": file_ending,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(dataset_json, indent=2))
    return folder
