"""Convert Pancreas-CT (NIH, The Cancer Imaging Archive), with the split and protocols of the paper."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunetv2_crln.dataset_conversion.common.command import build_parser, convert_dataset
from nnunetv2_crln.dataset_conversion.common.converted_case import ConvertedCase, SourceCase, check_scan, recoded_mask
from nnunetv2_crln.dataset_conversion.common.converter import Conversion
from nnunetv2_crln.dataset_conversion.common.dicom import is_dicom, read_series
from nnunetv2_crln.dataset_conversion.common.image_files import read_image
from nnunetv2_crln.dataset_conversion.common.label_crop import add_crop_option, crop_around_label, crop_options
from nnunetv2_crln.dataset_conversion.common.orientation import align_label, flip_label
from nnunetv2_crln.dataset_conversion.common.search import Found
from nnunetv2_crln.dataset_conversion.common.splits import published_split

DESCRIPTION = """\
Convert Pancreas-CT (NIH) for semi-supervised training.

Get the data from https://www.cancerimagingarchive.net/collection/pancreas-ct/ (DICOM images and NIfTI labels). Give
the folder that holds both, or one folder for each, at any depth:
  .../PANCREAS_0001/.../*.dcm        one CT series a case
  .../label0001.nii.gz               its label
  .../image0001.nii.gz               or the image as NIfTI instead of DICOM (also PANCREAS_0001.nii.gz)
Case NNNN becomes imageNNNN, the name the published split uses. NIH later withdrew scans 25 and 70 as duplicates, so a
present download has 80 of the 82 cases: convert it with --allow_partial.

Labels are brought onto the grid of their image by the headers (flipped or exchanged axes are turned and reported; what
the headers do not explain is refused). If the headers of your copy are wrong, --flip_labels says how the arrays lie.
Hounsfield units are kept: nnU-Net clips and normalises CT itself.

Protocols: --num_labelled 6 (6 labelled / 56 unlabelled), --num_labelled 12 (12 / 50); 20 test cases.
Writes nnUNet_raw/Dataset102_PancreasCT.
"""
CASE_FOLDER = re.compile(r"pancreas_(\d{4})", re.IGNORECASE)
IMAGE_FILE = re.compile(r"(?:image|img|pancreas_)(\d{4})\.nii(?:\.gz)?", re.IGNORECASE)
LABEL_FILE = re.compile(r"label(\d{4})\.nii(?:\.gz)?", re.IGNORECASE)
PAPER_WINDOW = (-125, 275)  # HU
PAPER_SPACING = 1.0  # mm
CROP_MARGIN = (25, 25, 25)  # voxels
CROP_SMALLEST = (96, 96, 96)


def find(options: argparse.Namespace) -> Found:
    """Find all DICOM series, NIfTI images and labels below the given folders."""
    found = Found()
    images: dict[str, list[Path]] = {}
    labels: dict[str, list[Path]] = {}
    for path, names in found.walk(options.i, lambda folder: (_case_of(folder) or folder.name,)):
        _sort_files(found, path, names, images, labels)
    for case, paths in images.items():
        found.candidates[case] = [SourceCase((path,), labels.get(case, [None])[0]) for path in paths]
    for case, paths in labels.items():
        found.refuse_several_labels(case, paths)
        if case not in images:
            found.skipped["label without image"].append(str(paths[0]))
    return found


def _sort_files(
    found: Found, folder: Path, names: list[str], images: dict[str, list[Path]], labels: dict[str, list[Path]]
) -> None:
    for name in names:
        if match := LABEL_FILE.fullmatch(name):
            labels.setdefault(f"image{match[1]}", []).append(folder / name)
        elif match := IMAGE_FILE.fullmatch(name):
            images.setdefault(f"image{match[1]}", []).append(folder / name)
    if any(is_dicom(Path(name)) for name in names):
        case = _case_of(folder)
        if case:
            images.setdefault(case, []).append(folder)
        else:
            found.skipped["DICOM outside a folder PANCREAS_NNNN"].append(str(folder))


def _case_of(path: Path) -> str | None:
    numbers = [match[1] for part in path.parts if (match := CASE_FOLDER.fullmatch(part))]
    return f"image{numbers[-1]}" if numbers else None


def read(source: SourceCase, options: dict[str, Any]) -> ConvertedCase:
    """Read image and label, align the label with the image, and preprocess both if requested.

    Args:
        source: Files of the case.
        options: Options of the conversion.

    Returns:
        The case in memory.

    Raises:
        UserError: The files cannot be used.
    """
    path = source.images[0]
    scan = _smallest_type(check_scan(read_series(path) if path.is_dir() else read_image(path), path))
    label: sitk.Image | None = None
    notes: list[str] = []
    if source.label is not None:
        label, notes = _label_on(scan, source.label, options["flip_labels"])
    if options["paper_preprocessing"]:
        scan, label = paper_preprocessing(scan, label)
    case = ConvertedCase((scan,), label, notes)
    return crop_around_label(case, CROP_MARGIN, CROP_SMALLEST, path) if options.get("crop_around_label") else case


def _label_on(scan: sitk.Image, path: Path, flip: str) -> tuple[sitk.Image, list[str]]:
    label = read_image(path)
    notes: list[str] = []
    if flip == "auto":
        label, notes = align_label(label, scan, path)
    else:
        label = flip_label(label, scan, "" if flip == "none" else flip, path)
    return recoded_mask(label, path), notes


def _smallest_type(scan: sitk.Image) -> sitk.Image:
    """Cast to 16 bits if the values fit, as Hounsfield units do; readers return wider types for rescaled files."""
    array = sitk.GetArrayViewFromImage(scan)
    limits = np.iinfo(np.int16)
    if array.min() >= limits.min and array.max() <= limits.max and (array == np.round(array)).all():
        return sitk.Cast(scan, sitk.sitkInt16)
    return sitk.Cast(scan, sitk.sitkFloat32)


def paper_preprocessing(scan: sitk.Image, label: sitk.Image | None) -> tuple[sitk.Image, sitk.Image | None]:
    """Clip to [-125, 275] Hounsfield units (HU) and resample to 1 mm as the paper does.

    Args:
        scan: CT in HU.
        label: Label on the same grid; None if there is none.

    Returns:
        Scan, resampled linearly, and label, resampled by nearest neighbour.
    """
    spacing = np.array(scan.GetSpacing())
    size = np.maximum(1, np.round(np.array(scan.GetSize()) * spacing / PAPER_SPACING)).astype(int)
    axes = np.reshape(scan.GetDirection(), (3, 3))
    # The outer faces of the volume stay in place, so the centre of the first voxel moves.
    origin = np.array(scan.GetOrigin()) + axes @ ((PAPER_SPACING - spacing) / 2)

    def resample(image: sitk.Image, interpolator: int) -> sitk.Image:
        # Beyond the outermost voxel centres there is nothing to interpolate: take the nearest voxel.
        padded = sitk.ZeroFluxNeumannPad(image, [1] * 3, [1] * 3)
        return sitk.Resample(
            padded,
            size.tolist(),
            sitk.Transform(),
            interpolator,
            origin.tolist(),
            [PAPER_SPACING] * 3,
            scan.GetDirection(),
            0.0,
            image.GetPixelID(),
        )

    clipped = sitk.Clamp(sitk.Cast(scan, sitk.sitkFloat32), sitk.sitkFloat32, *PAPER_WINDOW)
    return resample(clipped, sitk.sitkLinear), None if label is None else resample(label, sitk.sitkNearestNeighbor)


def _flip(text: str) -> str:
    if text in ("auto", "none") or (text and set(text) <= set("xyz") and len(set(text)) == len(text)):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is none of auto, none, or some of the letters xyz")


def make_conversion(options: argparse.Namespace) -> Conversion:
    """Return the conversion of this dataset."""
    return Conversion(
        channels=("CT",),
        labels=("background", "pancreas"),
        read=read,
        options={
            "flip_labels": options.flip_labels,
            "paper_preprocessing": options.paper_preprocessing,
            **crop_options(options.crop_around_label),
        },
        about={
            "description": "Pancreas in portal-venous CT, National Institutes of Health",
            "reference": "Roth et al., The Cancer Imaging Archive (2016), doi:10.7937/K9/TCIA.2016.tNB1kqBU",
        },
        missing_hint="(image0025 and image0070 were withdrawn as duplicates: a present download lacks them.)",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the conversion."""
    parser = build_parser(DESCRIPTION, 102, "PancreasCT", 6)
    parser.add_argument(
        "--flip_labels",
        type=_flip,
        default="auto",
        metavar="AXES",
        help="auto: by the headers (default); none, or some of xyz: label headers are wrong, flip the arrays along "
        "these image axes and use the header of the image",
    )
    parser.add_argument(
        "--paper_preprocessing",
        action="store_true",
        help="clip to [-125, 275] HU and resample to 1 mm, as the paper does; not needed for nnU-Net",
    )
    add_crop_option(parser)
    convert_dataset(parser, arguments, published_split("pancreas_ct"), find, make_conversion)


if __name__ == "__main__":
    main()
