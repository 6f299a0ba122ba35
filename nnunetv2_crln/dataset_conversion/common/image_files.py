"""Read images with clear errors, and write them so that a final name never belongs to an incomplete file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_crln.dataset_conversion.common.geometry import ROUNDING, Grid, corner_distance
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.raw_dataset.read_errors import explain_read_error, last_line
from nnunetv2_crln.utilities.files import finished_file
from nnunetv2_crln.utilities.nifti import check_nifti_is_complete


def read_image(path: str | Path) -> sitk.Image:
    """Read an image file.

    Raises:
        UserError: The file is missing, truncated or not an image.
    """
    with _reading(path) as reader:
        check_nifti_is_complete(path)
        return reader.Execute()


def read_grid(path: str | Path) -> Grid:
    """Read the voxel grid of an image file from its header.

    Raises:
        UserError: The file is missing or not an image.
    """
    with _reading(path) as reader:
        reader.ReadImageInformation()
        return Grid.of(reader)


@contextmanager
def _reading(path: str | Path) -> Iterator[sitk.ImageFileReader]:
    if not Path(path).is_file():
        raise UserError(f"{path} does not exist or is not a file.")
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        yield reader
    except RuntimeError as error:
        reason = explain_read_error(path, error)
        if reason == last_line(error):
            reason = f"it is truncated, damaged or not an image ({reason}). Download or copy it again"
        raise UserError(f"Cannot read {path}: {reason}.") from error


def write_image(image: sitk.Image, path: Path) -> None:
    """Write a compressed image, read it back to compare, then give it its final name.

    Reading back detects a full disk: ITK does not report every incomplete write.

    Args:
        image: Image to write.
        path: Final path; its ending determines the format.

    Raises:
        UserError: The file could not be written, or does not contain what was written.
    """
    with finished_file(path) as temporary:
        try:
            sitk.WriteImage(image, str(temporary), useCompression=True)
            written = sitk.ReadImage(str(temporary))
        except RuntimeError as error:
            raise UserError(f"Cannot write {path}: {last_line(error)}. Is the disk full?") from error
        same_voxels = np.array_equal(sitk.GetArrayViewFromImage(written), sitk.GetArrayViewFromImage(image))
        if not same_voxels or corner_distance(Grid.of(image), Grid.of(written)) > ROUNDING:
            raise UserError(
                f"{path} does not hold what was written into it ({Grid.of(written)} instead of {Grid.of(image)}). "
                "Is the disk full, or is the image sheared?"
            )
