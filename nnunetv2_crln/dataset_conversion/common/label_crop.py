"""Crops around the label, as published experiments on small organs use them: they know where the organ is."""

import argparse
from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from nnunetv2_crln.dataset_conversion.common.converted_case import ConvertedCase
from nnunetv2_crln.errors import UserError

NOTE = "cropped around its label, which a case without label cannot be"


def add_crop_option(parser: argparse.ArgumentParser) -> None:
    """``--crop_around_label``."""
    parser.add_argument(
        "--crop_around_label",
        action="store_true",
        help="crop every case, test cases included, around its label as the published experiments do. THIS USES LABEL "
        "KNOWLEDGE, also of unlabelled and test cases: for comparison with published tables alone",
    )


def crop_options(crop: bool) -> dict[str, bool]:
    """What dataset.json says about a conversion: nothing for whole images."""
    return {"crop_around_label": True, "uses_label_knowledge": True} if crop else {}


def crop_around_label(
    case: ConvertedCase, margin: Sequence[int | None], smallest: Sequence[int], where: object
) -> ConvertedCase:
    """Cut image and label to the label's bounding box.

    Args:
        case: With a label.
        margin: Voxels kept beyond the box on both sides of x, y and z; None keeps the whole axis.
        smallest: Voxels that are left at least, where the image has so many.
        where: Shown in the error.

    Raises:
        UserError: The case has no label.
    """
    if case.label is None:
        raise UserError(f"{where} has no label to crop around. Add it, or convert without --crop_around_label.")
    foreground = np.argwhere(sitk.GetArrayViewFromImage(case.label) > 0)[:, ::-1]  # x, y, z
    size = case.label.GetSize()
    low, high = [], []
    for axis, extent in enumerate(size):
        beyond = margin[axis]
        if beyond is None:
            low.append(0)
            high.append(extent)
            continue
        start, stop = int(foreground[:, axis].min()) - beyond, int(foreground[:, axis].max()) + 1 + beyond
        lacking = max(0, smallest[axis] - (stop - start))
        start, stop = start - lacking // 2, stop + lacking - lacking // 2
        # What one side lacks at the edge of the image is taken from the other.
        start, stop = start - max(0, stop - extent), stop - min(0, start)
        low.append(max(0, start))
        high.append(min(extent, stop))
    lengths = [int(stop - start) for start, stop in zip(low, high)]

    def cut(image: sitk.Image) -> sitk.Image:
        return sitk.RegionOfInterest(image, lengths, low)

    return ConvertedCase(tuple(cut(image) for image in case.images), cut(case.label), [*case.notes, NOTE])
