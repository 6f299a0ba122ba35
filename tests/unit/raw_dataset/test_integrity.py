"""Every check of a raw dataset, and what its message says."""

import json
import re
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from synthetic import write_image

from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.raw_dataset.check_images import find_duplicate_images, leaks, verify_images
from nnunetv2_crln.raw_dataset.check_names import check_dataset


def edit(folder, **changes):
    """Change entries of dataset.json; None removes one."""
    path = folder / "dataset.json"
    content = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


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


def test_sound_dataset_has_no_complaints(make_dataset):
    folder = make_dataset()
    assert check_dataset(folder) == []
    assert verify_images(folder, show_progress=False) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"numTraining": None, "labels": None}, "has no labels, numTraining"),
        ({"numTraining": "3"}, "'numTraining' is '3'; expected the number of labelled cases"),
        ({"numTraining": True}, "'numTraining' is True"),
        ({"numTraining": 5}, "numTraining 5, but there are 3 labelled cases.*set it to 3"),
        ({"file_ending": "nii.gz"}, "'file_ending' is 'nii.gz'.*leading dot"),
        ({"channel_names": {"MRI": 0}}, "'channel_names' is .*numbers to names"),
        ({"channel_names": ["MRI"]}, "'channel_names' is"),
        ({"labels": {"0": "background", "1": "heart"}}, "'labels' is .*names to numbers"),
        ({"labels": {"heart": 1}}, "'labels' is"),
    ],
)
def test_dataset_json(make_dataset, changes, message):
    folder = make_dataset()
    edit(folder, **changes)
    with pytest.raises(UserError, match=message):
        check_dataset(folder)


def test_dataset_json_is_no_object(make_dataset):
    folder = make_dataset()
    (folder / "dataset.json").write_text("[]")
    with pytest.raises(UserError, match="holds a list"):
        check_dataset(folder)


def test_regions_and_old_key_are_valid(make_dataset):
    folder = make_dataset()
    edit(folder, labels={"background": 0, "whole": [1, 2], "core": 2}, channel_names=None, modality={"0": "MRI"})
    assert check_dataset(folder) == []


def test_an_ignore_label_makes_imagesul_optional(make_dataset):
    folder = make_dataset(unlabelled=0)
    content = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    content["labels"]["ignore"] = 3
    (folder / "dataset.json").write_text(json.dumps(content))
    assert check_dataset(folder) == []


def test_no_unlabelled_folder_says_how_to_make_one_and_what_works_without(make_dataset):
    folder = make_dataset(unlabelled=0)
    with pytest.raises(UserError, match=r"imagesUl does not exist.*CASE_0000\.nii\.gz.*nnUNetv2_plan_and_preprocess"):
        check_dataset(folder)


def test_empty_unlabelled_folder(make_dataset):
    folder = make_dataset(unlabelled=0)
    (folder / "imagesUl").mkdir()
    with pytest.raises(UserError, match="imagesUl has no image ending with"):
        check_dataset(folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("scan.nii.gz", r"without a channel number: scan\.nii\.gz.*for example scan\.nii\.gz to scan_0000\.nii\.gz"),
        ("scan_0000.nrrd", r"another format than .*scan_0000\.nrrd"),
        ("unl_001_0001.nii.gz", r"1 channel file\(s\) per case.*unl_001_0001\.nii\.gz \(too many\)"),
        ("scan_0001.nii.gz", r"scan_0000\.nii\.gz \(missing\), scan_0001\.nii\.gz \(too many\)"),
    ],
)
def test_names_in_unlabelled_folder(make_dataset, name, message):
    folder = make_dataset()
    (folder / "imagesUl" / name).touch()
    with pytest.raises(UserError, match=message):
        check_dataset(folder)


def test_missing_channels_list_five_and_the_total(make_dataset):
    folder = make_dataset(channels=2, unlabelled=7)
    for file in (folder / "imagesUl").glob("*_0001.nii.gz"):
        file.unlink()
    with pytest.raises(UserError, match=r"unl_004_0001\.nii\.gz \(missing\), … \(7 in total\)"):
        check_dataset(folder)


def test_all_channels_in_one_file_as_in_the_labelled_cases(make_dataset):
    folder = make_dataset()
    edit(folder, channel_names={"0": "R", "1": "G", "2": "B"})
    assert check_dataset(folder) == []


@pytest.mark.parametrize(("other", "case"), [("imagesTr", "lab_001"), ("imagesTs", "tst_000")])
def test_same_case_in_two_folders(make_dataset, other, case):
    folder = make_dataset()
    shutil.copy(folder / other / f"{case}_0000.nii.gz", folder / "imagesUl")
    with pytest.raises(UserError, match=f"both imagesUl and {other} .*: {case}"):
        check_dataset(folder)


def test_labelled_case_without_label(make_dataset):
    folder = make_dataset()
    (folder / "labelsTr" / "lab_002.nii.gz").unlink()
    with pytest.raises(UserError, match=r"without a label in labelsTr: lab_002\. Move .* to imagesUl"):
        check_dataset(folder)


def test_no_labelled_case(make_dataset):
    folder = make_dataset()
    shutil.rmtree(folder / "imagesTr")
    with pytest.raises(UserError, match="CRLN needs labelled cases too"):
        check_dataset(folder)


def test_hidden_label_among_training_labels_is_a_warning(make_dataset):
    folder = make_dataset()
    shutil.copy(folder / "labelsUl" / "unl_000.nii.gz", folder / "labelsTr")
    assert [warning for warning in check_dataset(folder) if "unl_000" in warning and "labelsUl" in warning]


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
        (lambda file: change(file, spacing=(0.001,) * 3), r"10 times off .*1 × 1 × 1 mm.*0\.001 × 0\.001"),
    ],
    ids=["unreadable", "truncated", "2d", "vectors", "4d", "metres"],
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
    groups = find_duplicate_images(folder)
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
    assert find_duplicate_images(folder, processes=2) == [["imagesTr/lab_000", "imagesUl/copy"]]


def test_unreadable_first_labelled_image(make_dataset):
    folder = make_dataset()
    (folder / "imagesTr" / "lab_000_0000.nii.gz").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"No reader of nnU-Net opens .*lab_000"):
        verify_images(folder, show_progress=False)


def test_listing():
    assert listing(["a", "b"]) == "a, b"
    assert listing("abcdefg") == "a, b, c, d, e, … (7 in total)"
