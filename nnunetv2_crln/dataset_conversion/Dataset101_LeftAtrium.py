"""Convert Left Atrium (2018 Atrial Segmentation Challenge), with the split and protocols of UA-MT."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunetv2_crln.dataset_conversion.common.command import build_parser, convert_dataset
from nnunetv2_crln.dataset_conversion.common.converted_case import ConvertedCase, SourceCase, check_scan, recoded_mask
from nnunetv2_crln.dataset_conversion.common.converter import Conversion
from nnunetv2_crln.dataset_conversion.common.hdf5 import read_arrays, require_h5py
from nnunetv2_crln.dataset_conversion.common.image_files import read_image
from nnunetv2_crln.dataset_conversion.common.label_crop import add_crop_option, crop_around_label, crop_options
from nnunetv2_crln.dataset_conversion.common.orientation import align_label
from nnunetv2_crln.dataset_conversion.common.search import Found
from nnunetv2_crln.dataset_conversion.common.splits import published_split

DESCRIPTION = """\
Convert the Left Atrium dataset (2018 Atrial Segmentation Challenge) for semi-supervised training.

Get the data from https://www.cardiacatlas.org/atriaseg2018-challenge/ (100 cases with labels), or, cropped around the
atrium, from https://github.com/yulequan/UA-MT. Give the folder, or several, in any mixture of the two layouts:
  FOLDER/CASE/lgemri.nrrd   FOLDER/CASE/laendo.nrrd    the challenge's; labels are optional except for labelled cases
  FOLDER/CASE/mri_norm2.h5                             UA-MT's, with 'image' and 'label'
Where a CASE folder has both, the NRRD files are used: the HDF5 is cropped around the label, which uses its knowledge.

Protocols: --num_labelled 8 (8 labelled / 72 unlabelled), --num_labelled 16 (16 / 64); 20 test cases.
Writes nnUNet_raw/Dataset101_LeftAtrium.
"""
SCAN, LABEL, HDF5 = "lgemri.nrrd", "laendo.nrrd", "mri_norm2.h5"
CROP_MARGIN = (15, 15, None)  # voxels; UA-MT draws 10 to 20 in x and y and keeps z
CROP_SMALLEST = (112, 112, 80)
SPACING = (0.625, 0.625, 0.625)  # spacing of every case, in mm; the HDF5 files do not contain it


def find(options: argparse.Namespace) -> Found:
    """Find all CASE folders below the given folders."""
    found = Found()
    for path, names in found.walk(options.i):
        _add_case(found, path, names)
        if not {SCAN, HDF5} & set(names) and LABEL in names:
            found.skipped[f"no {SCAN} or {HDF5}"].append(str(path))
    if any(source.images[0].name == HDF5 for sources in found.candidates.values() for source in sources):
        require_h5py()
    return found


def _add_case(found: Found, folder: Path, names: list[str]) -> None:
    if SCAN in names:
        label = folder / LABEL if LABEL in names else None
        found.candidates[folder.name].append(SourceCase((folder / SCAN,), label))
        if HDF5 in names:
            found.skipped[f"{HDF5} beside {SCAN}"].append(str(folder))
    elif HDF5 in names:
        found.candidates[folder.name].append(SourceCase((folder / HDF5,), folder / HDF5))


def read(source: SourceCase, options: dict[str, Any]) -> ConvertedCase:
    """Read one case of either layout.

    Args:
        source: Files of the case.
        options: Options of the conversion.

    Returns:
        The case in memory.

    Raises:
        UserError: The files cannot be used.
    """
    path = source.images[0]
    case = _read_hdf5(path) if path.name == HDF5 else _read_nrrd(source)
    return crop_around_label(case, CROP_MARGIN, CROP_SMALLEST, path) if options.get("crop_around_label") else case


def _read_hdf5(path: Path) -> ConvertedCase:
    image, label = read_arrays(path)
    scan = check_scan(_from_xyz(image.astype(np.float32)), path)
    return ConvertedCase((scan,), None if label is None else recoded_mask(_from_xyz(label), f"{path} (label)"))


def _from_xyz(array: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetSpacing(SPACING)
    return image


def _read_nrrd(source: SourceCase) -> ConvertedCase:
    scan = check_scan(read_image(source.images[0]), source.images[0])
    if source.label is None:
        return ConvertedCase((scan,), None)
    label, notes = align_label(read_image(source.label), scan, source.label)
    return ConvertedCase((scan,), recoded_mask(label, source.label), notes)


def make_conversion(options: argparse.Namespace) -> Conversion:
    """Return the conversion of this dataset."""
    return Conversion(
        channels=("LGE_MRI",),
        labels=("background", "left atrium"),
        read=read,
        options=crop_options(options.crop_around_label),
        about={
            "description": "Left atrium in late gadolinium-enhanced MRI, 2018 Atrial Segmentation Challenge",
            "reference": "Xiong et al., Medical Image Analysis 67 (2021) 101832",
        },
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the conversion."""
    parser = build_parser(DESCRIPTION, 101, "LeftAtrium", 8)
    add_crop_option(parser)
    convert_dataset(parser, arguments, published_split("left_atrium"), find, make_conversion)


if __name__ == "__main__":
    main()
