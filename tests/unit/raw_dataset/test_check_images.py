"""Images of a raw dataset: every complaint, and what its message says."""

import json
import re
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from synthetic import write_image

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.raw_dataset.check_images import leaks, verify_images
from nnunetv2_crln.raw_dataset.survey import Survey


def change(file, voxels=None, spacing=None, origin=None):
    """Rewrite an image file with other voxels, spacing or origin."""
    image = sitk.ReadImage(str(file))
    array = sitk.GetArrayFromImage(image)
    new = sitk.GetImageFromArray(array if voxels is None else voxels(array))
    new.CopyInformation(image)
    if spacing:
        new.SetSpacing(spacing)
    if origin:
        new.SetOrigin(origin)
    sitk.WriteImage(new, str(file))


def test_sound_images_have_no_complaints(make_dataset):
    assert verify_images(make_dataset(), show_progress=False) == []


def write_vectors(file, vector):
    """Two values per voxel, as vectors or along a fourth axis."""
    array = np.ones((9, 9, 9, 2) if vector else (2, 9, 9, 9), np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=vector), str(file))


def nan(array):
    array[0, 0, 0] = np.nan
    return array


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.write_bytes(b"no image"), r"unreadable case\(s\): imagesUl/unl_001_0000\.nii\.gz cannot"),
        (lambda file: file.write_bytes(file.read_bytes()[:-500]), r"unreadable case\(s\): imagesUl/unl_001_0000"),
        (lambda file: write_image(np.ones((9, 9), np.float32), file, (1, 1)), "2D image.* all labelled ones are 3D"),
        (lambda file: write_vectors(file, vector=True), r"number of channels \(mostly 9\) than the 1 of"),
        (lambda file: write_vectors(file, vector=False), r"number of channels \(mostly 2\) than the 1 of"),
        (
            lambda file: write_vectors(file, vector=False),
            r"imagesUl/\S+ is a 4D image \(2 × 9 × 9 × 9\), expected a 3D .*one 3D file per channel.*four_to_three",
        ),
        (lambda file: change(file, spacing=(0.001,) * 3), r"10 times off .*1 × 1 × 1 mm.*0\.001 × 0\.001"),
    ],
    ids=["unreadable", "truncated", "2d", "vectors", "4d", "4d to split", "metres"],
)
def test_broken_unlabelled_image(make_dataset, damage, message):
    folder = make_dataset()
    damage(folder / "imagesUl" / "unl_001_0000.nii.gz")
    with pytest.raises(UserError, match=message):
        verify_images(folder, show_progress=False)


def test_all_kinds_of_error_are_reported_at_once(make_dataset):
    folder = make_dataset(file_ending=".nrrd")
    (folder / "imagesUl" / "unl_000_0000.nrrd").write_bytes(b"no image")
    change(folder / "imagesUl" / "unl_001_0000.nrrd", nan)
    with pytest.raises(UserError, match=r"(?s)2 kind\(s\).*unreadable.*NaN or infinite voxels: imagesUl/unl_001_0000"):
        verify_images(folder, show_progress=False)


def test_channels_of_different_size(make_dataset):
    folder = make_dataset(channels=2)
    change(folder / "imagesUl" / "unl_001_0001.nii.gz", spacing=(1, 1, 2))
    write_image(np.ones((9, 9, 9), np.float32), folder / "imagesUl" / "unl_002_0001.nii.gz")
    with pytest.raises(UserError, match="differ in shape or spacing: imagesUl/unl_001, imagesUl/unl_002"):
        verify_images(folder, show_progress=False)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: change(file, np.zeros_like), "1 constant image.*unl_001_0001"),
        (lambda file: change(file, origin=(5, 0, 0)), "differ in origin or direction: imagesUl/unl_001"),
    ],
    ids=["constant", "origin"],
)
def test_warnings_for_one_channel(make_dataset, damage, message):
    folder = make_dataset(channels=2)
    damage(folder / "imagesUl" / "unl_001_0001.nii.gz")
    (warning,) = verify_images(folder, show_progress=False)
    assert re.search(message, warning)


def test_one_axis_with_another_spacing_is_a_warning(make_dataset):
    folder = make_dataset()
    change(folder / "imagesUl" / "unl_001_0000.nii.gz", spacing=(1, 1, 10))
    (warning,) = verify_images(folder, show_progress=False)
    assert "imagesUl/unl_001 (10 × 1 × 1 mm)" in warning


def test_renamed_and_recompressed_copies_are_found(make_dataset):
    folder = make_dataset()
    image = sitk.ReadImage(str(folder / "imagesTs" / "tst_000_0000.nii.gz"))
    sitk.WriteImage(sitk.Cast(image, sitk.sitkFloat64), str(folder / "imagesUl" / "new_0000.nii.gz"))
    shutil.copy(folder / "imagesUl" / "unl_000_0000.nii.gz", folder / "imagesUl" / "unl_009_0000.nii.gz")
    groups = Survey(folder, processes=1, show_progress=False).duplicates()
    assert groups == [["imagesUl/new", "imagesTs/tst_000"], ["imagesUl/unl_000", "imagesUl/unl_009"]]
    assert leaks(groups) == groups[:1]
    with pytest.raises(UserError, match=r"several folders.*imagesUl/new = imagesTs/tst_000"):
        verify_images(folder, show_progress=False)
    (folder / "imagesUl" / "new_0000.nii.gz").unlink()
    (warning,) = verify_images(folder, show_progress=False)
    assert "imagesUl/unl_000 = imagesUl/unl_009" in warning


@pytest.mark.slow
def test_parallel_check_finds_the_same(make_dataset):
    folder = make_dataset()
    shutil.copy(folder / "imagesTr" / "lab_000_0000.nii.gz", folder / "imagesUl" / "copy_0000.nii.gz")
    assert Survey(folder, processes=2, show_progress=False).duplicates() == [["imagesTr/lab_000", "imagesUl/copy"]]


def test_unreadable_first_labelled_image(make_dataset):
    folder = make_dataset()
    (folder / "imagesTr" / "lab_000_0000.nii.gz").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"No reader of nnU-Net opens .*lab_000"):
        verify_images(folder, show_progress=False)


def test_a_label_among_the_images_is_a_warning(make_dataset):
    folder = make_dataset()
    shutil.copy(folder / "labelsUl" / "unl_001.nii.gz", folder / "imagesUl" / "unl_001_0000.nii.gz")
    (warning,) = verify_images(folder, show_progress=False)
    assert "few different values" in warning and "imagesUl/unl_001. If they are labels, put the image" in warning


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((8, 8, 4), r"imagesTr/a_0000\.png has transparency \(RGBA, 4 channels\).*mogrify -alpha off"),
        ((8, 8, 3), r"imagesTr/a_0000\.png is a colour image: name its 3 channels"),
    ],
)
def test_colours_and_transparency_of_pictures(tmp_path, shape, message):
    content = {"channel_names": {"0": "photo"}, "labels": {"background": 0, "a": 1}, "file_ending": ".png"}
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "dataset.json").write_text(json.dumps({**content, "numTraining": 1}))
    picture = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8), isVector=True)
    sitk.WriteImage(picture, str(tmp_path / "imagesTr" / "a_0000.png"))
    with pytest.raises(UserError, match=message):
        verify_images(tmp_path, show_progress=False)
