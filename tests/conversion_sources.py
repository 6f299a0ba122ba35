"""Small real files in the formats the datasets are downloaded in."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from synthetic import make_case

from nnunetv2_crln.layout import RAW_LOCK

SHAPE = (6, 8, 10)  # (Z, Y, X)


def scan_and_label(seed: int = 0, shape: Sequence[int] = SHAPE, foreground: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Draw an int16 image and a binary label that no flip maps onto itself."""
    image, label = make_case(np.random.default_rng(seed), shape, classes=2)
    label[0, 0, 0] = 1
    return image[0].astype(np.int16), label * np.uint8(foreground)


def as_image(
    array: np.ndarray,
    spacing: Sequence[float] = (0.7, 0.8, 1.5),
    origin: Sequence[float] = (-30, 12, 5),
    direction: Sequence[float] = (1, 0, 0, 0, 1, 0, 0, 0, 1),
) -> sitk.Image:
    """Make an image from voxels (Z, Y, X); spacing, origin and direction as in SimpleITK (X, Y, Z)."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    return image


def save(image: sitk.Image, path: Path) -> Path:
    """Write an image, with the folders it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path), useCompression=True)
    return path


def truncate(path: Path, share: float = 0.6) -> None:
    """Cut a file off, as an interrupted download does."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def save_dicom(
    image: sitk.Image, folder: Path, series: str = "1.2.3", prefix: str = "", modality: str = "CT"
) -> list[Path]:
    """Write an image as a DICOM series, one file a slice."""
    folder.mkdir(parents=True, exist_ok=True)
    direction = image.GetDirection()
    orientation = [direction[row * 3 + column] for column in (0, 1) for row in range(3)]
    writer, paths = sitk.ImageFileWriter(), []
    writer.KeepOriginalImageUIDOn()
    for index in range(image.GetDepth()):
        position = image.TransformIndexToPhysicalPoint((0, 0, index))
        piece = image[:, :, index]
        for key, value in {
            "0008|0060": modality,
            "0008|0018": f"{series}.{index + 1}",
            "0020|000d": "1.2",
            "0020|000e": series,
            "0020|0013": str(index + 1),
            "0020|0032": "\\".join(map(str, position)),
            "0020|0037": "\\".join(map(str, orientation)),
        }.items():
            piece.SetMetaData(key, value)
        paths.append(folder / f"{prefix}{index:03d}.dcm")
        writer.SetFileName(str(paths[-1]))
        writer.Execute(piece)
    return paths


def write_list(path: Path, *names: str) -> str:
    """Write a case list and return its path for the command line."""
    path.write_text("\n".join(names) + "\n")
    return str(path)


def voxels(path: Path) -> np.ndarray:
    """Voxels (Z, Y, X) of an image file."""
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def files_in(folder: Path) -> list[str]:
    """All files below a folder, hidden ones but the lock included, as relative paths."""
    files = [path for path in folder.rglob("*") if not path.is_dir() and path.name != RAW_LOCK]
    return sorted(str(path.relative_to(folder)) for path in files)
