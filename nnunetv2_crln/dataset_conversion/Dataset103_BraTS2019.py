"""Convert BraTS 2019 (brain tumours), with the split and protocols of SSL4MIS."""

import argparse
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnunetv2_crln.dataset_conversion.common.command import build_parser, convert_dataset
from nnunetv2_crln.dataset_conversion.common.converted_case import (
    ConvertedCase,
    SourceCase,
    check_scan,
    on_one_grid,
    recoded,
)
from nnunetv2_crln.dataset_conversion.common.converter import Conversion
from nnunetv2_crln.dataset_conversion.common.image_files import read_image
from nnunetv2_crln.dataset_conversion.common.orientation import align_label
from nnunetv2_crln.dataset_conversion.common.search import Found
from nnunetv2_crln.dataset_conversion.common.splits import published_split

DESCRIPTION = """\
Convert BraTS 2019 for semi-supervised training.

Get the training data from https://www.med.upenn.edu/cbica/brats2019/data.html (registration). Give the folder that
holds HGG and LGG, or one of these, or several:
  .../HGG/BraTS19_CBICA_AAB_1/BraTS19_CBICA_AAB_1_flair.nii.gz   also _t1, _t1ce, _t2 if asked for with --modalities
                              BraTS19_CBICA_AAB_1_seg.nii.gz     values 0, 1, 2, 4

Of the split 250 / 25 / 60, the first N training cases are labelled and the 25 validation cases are fold 0's validation
set (splits_final.json): train with fold 0. Fold "all" would train on the validation cases too.

Protocols: --num_labelled 25 (25 labelled / 225 unlabelled), --num_labelled 50 (50 / 200); 60 test cases.
Writes nnUNet_raw/Dataset103_BraTS2019, and splits_final.json into nnUNet_preprocessed as well.
"""
MODALITIES = ("flair", "t1", "t1ce", "t2")
FILE = re.compile(rf"(.+)_(seg|{'|'.join(MODALITIES)})\.nii(?:\.gz)?")
TARGETS = {
    "whole_tumour": (("background", "whole tumour"), {0: 0, 1: 1, 2: 1, 4: 1}),
    # nnU-Net requires class numbers without gaps, hence 4 -> 3.
    "all": (("background", "necrosis", "oedema", "enhancing tumour"), {0: 0, 1: 1, 2: 2, 4: 3}),
    "regions": (("background", "necrosis", "oedema", "enhancing tumour"), {0: 0, 1: 1, 2: 2, 4: 3}),
}
# What the challenge scores; nnU-Net predicts each by itself and writes them one over the other.
REGIONS = {
    "labels": {"background": 0, "whole tumour": [1, 2, 3], "tumour core": [1, 3], "enhancing tumour": [3]},
    "regions_class_order": [2, 1, 3],
}


def find(options: argparse.Namespace) -> Found:
    """Find all case folders below the given folders."""
    found = Found()
    for path, names in found.walk(options.i):
        for case, files in _files_of_cases(path, names).items():
            _add_case(found, case, files, options.modalities)
    return found


def _files_of_cases(folder: Path, names: list[str]) -> dict[str, dict[str, Path]]:
    files: dict[str, dict[str, Path]] = defaultdict(dict)
    for name in names:
        if match := FILE.fullmatch(name):
            files[match[1]][match[2]] = folder / name
    return files


def _add_case(found: Found, case: str, files: dict[str, Path], modalities: Sequence[str]) -> None:
    missing = [modality for modality in modalities if modality not in files]
    if not missing:
        found.candidates[case].append(SourceCase(tuple(files[m] for m in modalities), files.get("seg")))
    elif case not in found.broken:
        folder = next(iter(files.values())).parent
        found.broken[case] = f"{folder} has no {', '.join(missing)} image. Download the case again."


def read(source: SourceCase, options: dict[str, Any]) -> ConvertedCase:
    """Read the chosen modalities and the label.

    Args:
        source: Files of the case.
        options: Options of the conversion.

    Returns:
        The case in memory.

    Raises:
        UserError: The files cannot be used.
    """
    scans = [check_scan(read_image(path), path) for path in source.images]
    images, notes = on_one_grid(scans, list(source.images))
    if source.label is None:
        return ConvertedCase(images, None, notes)
    label, more = align_label(read_image(source.label), images[0], source.label)
    _, codes = TARGETS[options["labels"]]
    return ConvertedCase(images, recoded(label, codes, source.label), notes + more)


def make_conversion(options: argparse.Namespace) -> Conversion:
    """Return the conversion of this dataset."""
    return Conversion(
        channels=tuple(modality.upper() for modality in options.modalities),
        labels=TARGETS[options.labels][0],
        read=read,
        options={"labels": options.labels},
        about={
            "description": "Brain tumours in MRI, Multimodal Brain Tumor Segmentation Challenge 2019",
            "reference": "Menze et al., IEEE Transactions on Medical Imaging 34 (2015) 1993-2024",
            **(REGIONS if options.labels == "regions" else {}),
        },
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the conversion."""
    parser = build_parser(DESCRIPTION, 103, "BraTS2019", 25)
    parser.add_argument(
        "--modalities",
        nargs="+",
        choices=MODALITIES,
        default=["flair"],
        help="channels, in this order (default: flair alone, as in the paper)",
    )
    parser.add_argument(
        "--labels",
        choices=tuple(TARGETS),
        default="whole_tumour",
        help="whole_tumour: one class, as in the paper (default); all: 1, 2 and 4 as the classes 1, 2, 3; regions: "
        "whole tumour, tumour core and enhancing tumour, which overlap",
    )
    convert_dataset(parser, arguments, published_split("brats2019"), find, make_conversion)


if __name__ == "__main__":
    main()
