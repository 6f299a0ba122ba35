"""Crop cases around their label, as published experiments on small organs do; this uses knowledge of the label."""

import argparse
from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from nnunetv2_crln.dataset_conversion.common.converted_case import ConvertedCase
from nnunetv2_crln.errors import UserError

NOTE = "cropped around its label, which a case without label cannot be"


def add_crop_option(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--crop_around_label``."""
    parser.add_argument(
        "--crop_around_label",
        action="store_true",
        help="crop every case, test cases included, around its label as the published experiments do. THIS USES LABEL "
        "KNOWLEDGE, also of unlabelled and test cases: for comparison with published tables alone",
    )


def crop_options(crop: bool) -> dict[str, bool]:
    """Return the entries about cropping for dataset.json; none for whole images."""
    return {"crop_around_label": True, "uses_label_knowledge": True} if crop else {}


def crop_around_label(
    case: ConvertedCase, margin: Sequence[int | None], smallest: Sequence[int], where: object
) -> ConvertedCase:
    """Crop image and label to the label's bounding box and a margin.

    Args:
        case: Case with a label.
        margin: Voxels to keep beyond the box on both sides of x, y and z; None keeps the whole axis.
        smallest: Smallest size of the crop in voxels, for x, y and z, unless the image itself is smaller.
        where: Name of the case, for the message.

    Returns:
        The cropped case.

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
        # If one side reaches the edge of the image, extend the other side instead.
        start, stop = start - max(0, stop - extent), stop - min(0, start)
        low.append(max(0, start))
        high.append(min(extent, stop))
    lengths = [int(stop - start) for start, stop in zip(low, high)]

    def cut(image: sitk.Image) -> sitk.Image:
        return sitk.RegionOfInterest(image, lengths, low)

    return ConvertedCase(tuple(cut(image) for image in case.images), cut(case.label), [*case.notes, NOTE])
