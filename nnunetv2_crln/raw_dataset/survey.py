"""Open every image of a raw dataset once and describe it; labels are never opened."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import IMAGES_LABELLED
from nnunetv2_crln.raw_dataset.cases import all_images, first_image, number_of_channels
from nnunetv2_crln.raw_dataset.dataset_json import read_dataset_json
from nnunetv2_crln.raw_dataset.read_errors import explain_read_error
from nnunetv2_crln.raw_dataset.readers import affine_of, reader_class_of
from nnunetv2_crln.utilities.nifti import nifti_is_finite
from nnunetv2_crln.utilities.parallel import run_all

_SAMPLE = 20_000


@dataclass(frozen=True)
class ChannelReport:
    """Description of one image file."""

    file: str
    shape: tuple[int, ...]  # (C, X, Y, Z) in nnU-Net's order; X is 1 for 2D images
    spacing: tuple[float, ...]  # mm
    direction: tuple[float, ...]  # direction of the axes; empty if the format has none
    placement: tuple[float, ...]  # origin and direction, or the affine; empty if the format has none
    finite: bool
    lowest: float
    highest: float
    overflows: bool  # standard deviation is beyond float32, though every voxel is finite
    values: int  # number of different values in a sample of the voxels
    digest: str  # of shape and voxels

    @property
    def constant(self) -> bool:
        """Tell whether all voxels are equal."""
        return self.lowest == self.highest


def inspect_file(file: str, reader_class: type[BaseReaderWriter]) -> ChannelReport:
    """Read one image file with nnU-Net's reader and describe it.

    Args:
        file: Path of the image file.
        reader_class: Reader of nnU-Net that opens it.

    Returns:
        Description of the file.

    Raises:
        RuntimeError: A NIfTI file is shorter than its header promises, damaged, or has complex voxels.
    """
    finite_on_disk = nifti_is_finite(file)
    image, properties = reader_class().read_images([file])
    finite = finite_on_disk and bool(np.isfinite(image).all())
    with np.errstate(over="ignore", invalid="ignore"):
        overflows = finite and not np.isfinite(image.std())  # in float32, as nnU-Net's normalisation
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    return ChannelReport(
        file=file,
        shape=tuple(image.shape),
        spacing=tuple(float(value) for value in properties["spacing"]),
        direction=direction_of(properties),
        placement=_placement(properties),
        finite=finite,
        lowest=float(image.min()),
        highest=float(image.max()),
        overflows=overflows,
        values=len(np.unique(np.random.default_rng(0).choice(image.ravel(), min(_SAMPLE, image.size)))),
        digest=digest.hexdigest(),
    )


def _placement(properties: dict) -> tuple[float, ...]:
    if stuff := properties.get("sitk_stuff"):
        return (*stuff["origin"], *stuff["direction"])
    if stuff := properties.get("nibabel_stuff"):
        return tuple(affine_of(stuff).ravel())
    return ()


def direction_of(properties: dict) -> tuple[float, ...]:
    """Return the direction of an image's axes; empty if the format has none."""
    if stuff := properties.get("sitk_stuff"):
        return tuple(stuff["direction"])
    if stuff := properties.get("nibabel_stuff"):
        axes = affine_of(stuff)[:3, :3]
        return tuple((axes / np.linalg.norm(axes, axis=0)).ravel())
    return ()


def inspect_case(files: list[str], reader_class: type[BaseReaderWriter]) -> list[ChannelReport]:
    """Describe all files of one case; each is read alone, so that a mismatch is reported instead of raised.

    Args:
        files: Channel files of the case.
        reader_class: Reader of nnU-Net that opens them.

    Returns:
        Description of each file.

    Raises:
        UserError: A file cannot be read; the message names it.
    """
    reports = []
    for file in files:
        try:
            reports.append(inspect_file(file, reader_class))
        except Exception as error:
            raise UserError(f"{Path(file).name} cannot be read ({explain_read_error(file, error)})") from error
    return reports


class Survey:
    """Describe all cases of a dataset and collect the errors of those that cannot be read.

    Args:
        raw_dataset_folder: ``nnUNet_raw/DatasetXXX_Name``.
        processes: Number of processes that read images.
        show_progress: Show a progress bar.
    """

    def __init__(self, raw_dataset_folder: str | Path, processes: int, show_progress: bool):
        self.folder = Path(raw_dataset_folder)
        dataset_json = read_dataset_json(self.folder)
        self.channels = number_of_channels(dataset_json)
        images = all_images(self.folder, dataset_json)
        labelled = {name: files for name, files in images.items() if name.startswith(f"{IMAGES_LABELLED}/")}
        reader_class = reader_class_of(dataset_json, first_image(labelled))
        tasks = {name: (files, reader_class) for name, files in images.items()}
        self.reports: dict[str, list[ChannelReport]]
        self.unreadable: dict[str, str]
        self.reports, self.unreadable = run_all(inspect_case, tasks, processes, "Opening every image", show_progress)

    def of(self, image_folder: str) -> dict[str, list[ChannelReport]]:
        """Return the reports of one image folder, e.g. ``imagesUl``."""
        return {name: reports for name, reports in self.reports.items() if name.startswith(f"{image_folder}/")}

    def duplicates(self) -> list[list[str]]:
        """Group cases with equal voxels, even renamed, recompressed or with another data type.

        Constant images are left out, because empty ones are equal by nature. Resampled, flipped or otherwise changed
        copies are not found.
        """
        groups = defaultdict(list)
        for name, reports in self.reports.items():
            if not all(report.constant for report in reports):
                groups[tuple(report.digest for report in reports)].append(name)
        return [names for names in groups.values() if len(names) > 1]


def short_name(report: ChannelReport) -> str:
    """Return the file's folder and name, e.g. ``imagesUl/case_0000.nii.gz``."""
    path = Path(report.file)
    return f"{path.parent.name}/{path.name}"
