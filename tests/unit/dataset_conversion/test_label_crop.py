"""Crops around the label: where they lie, and that they are flagged."""

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_crln.dataset_conversion.common.converted_case import ConvertedCase
from nnunetv2_crln.dataset_conversion.common.label_crop import NOTE, crop_around_label, crop_options
from nnunetv2_crln.errors import UserError


def case_with(box, shape=(12, 30, 40)) -> ConvertedCase:
    """Arrays are (z, y, x); every voxel of the image has its own value, the label fills the box."""
    image = sitk.GetImageFromArray(np.arange(np.prod(shape), dtype=np.float32).reshape(shape))
    label = np.zeros(shape, np.uint8)
    label[box] = 1
    mask = sitk.GetImageFromArray(label)
    for each in (image, mask):
        each.SetSpacing((0.5, 0.5, 2.0))
        each.SetOrigin((1.0, 2.0, 3.0))
    return ConvertedCase((image,), mask, ["before"])


def test_the_box_grows_by_the_margin_and_stays_where_it_was():
    case = case_with(np.s_[4:6, 10:15, 20:24])
    cropped = crop_around_label(case, (3, 2, None), (1, 1, 1), "case")
    assert cropped.images[0].GetSize() == cropped.label.GetSize() == (10, 9, 12)
    whole = sitk.GetArrayFromImage(case.images[0])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(cropped.images[0]), whole[:, 8:17, 17:27])
    assert cropped.images[0].GetOrigin() == (1 + 17 * 0.5, 2 + 8 * 0.5, 3.0)
    assert sitk.GetArrayFromImage(cropped.label).sum() == 2 * 5 * 4
    assert cropped.notes == ["before", NOTE]


@pytest.mark.parametrize("start", [0, 1, 18, 36])
def test_a_small_label_leaves_the_smallest_size_wherever_it_lies(start):
    cropped = crop_around_label(case_with(np.s_[4:6, 10:15, start : start + 4]), (2, 2, 2), (16, 20, 6), "case")
    assert cropped.label.GetSize() == (16, 20, 6)
    assert sitk.GetArrayFromImage(cropped.label).sum() == 2 * 5 * 4


def test_an_image_smaller_than_the_smallest_size_is_kept_whole():
    assert crop_around_label(case_with(np.s_[4:6, 10:15, 3:5]), (1, 1, 1), (99, 99, 99), "c").label.GetSize() == (
        40,
        30,
        12,
    )


def test_without_a_label_there_is_nothing_to_crop_around():
    case = case_with(np.s_[4:6, 10:15, 3:5])
    with pytest.raises(UserError, match="folder/case has no label to crop around"):
        crop_around_label(ConvertedCase(case.images, None), (1, 1, 1), (1, 1, 1), "folder/case")


def test_the_dataset_says_that_labels_were_used():
    assert crop_options(True) == {"crop_around_label": True, "uses_label_knowledge": True}
    assert crop_options(False) == {}
