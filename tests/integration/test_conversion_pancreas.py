"""Pancreas-CT: DICOM and NIfTI, orientation of labels, broken series."""

import json
import re
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from conversion_sources import as_image, files_in, save, save_dicom, scan_and_label, truncate, voxels, write_list

from nnunetv2_crln.dataset_conversion import Dataset102_PancreasCT as script

SPACING, ORIGIN = (0.7, 0.8, 1.5), (-30, 12, 5)


def series(source, number):
    return source / f"PANCREAS_{number:04d}" / "study" / "series"


@pytest.fixture
def source(tmp_path):
    """1 (DICOM) is labelled; 2 (DICOM), 3 (NIfTI) unlabelled; 4 (NIfTI) is a test case."""
    folder = tmp_path / "source"
    for number in (1, 2, 3, 4):
        image, classes = scan_and_label(number)
        scan = as_image(image - np.int16(200), SPACING, ORIGIN)
        if number <= 2:
            save_dicom(scan, series(folder, number), f"1.2.3.{number}")
        else:
            save(scan, folder / f"image{number:04d}.nii.gz")
        save(as_image(classes, SPACING, ORIGIN), folder / "labels" / f"label{number:04d}.nii.gz")
    return folder


@pytest.fixture
def convert(nnunet_folders, tmp_path, source):
    """Run the script on the small split; returns the dataset's folder and the exit status."""
    train = write_list(tmp_path / "train.list", "image0001", "image0002", "image0003")
    test = write_list(tmp_path / "test.list", "image0004")

    def run(*more):
        lists = ["--train_list", train, "--test_list", test, "--num_labelled", "1", "-np", "1"]
        status = 0
        try:
            script.main(["-i", str(source), *lists, *more])
        except SystemExit as error:
            status = error.code
        return nnunet_folders.raw / "Dataset102_PancreasCT", status

    return run


def test_dicom_and_nifti_keep_hounsfield_units_and_geometry(convert):
    dataset, status = convert()
    assert status == 0
    assert files_in(dataset) == [
        "dataset.json",
        "imagesTr/image0001_0000.nii.gz",
        "imagesTs/image0004_0000.nii.gz",
        "imagesUl/image0002_0000.nii.gz",
        "imagesUl/image0003_0000.nii.gz",
        "labelsTr/image0001.nii.gz",
        "labelsTs/image0004.nii.gz",
        "labelsUl/image0002.nii.gz",
        "labelsUl/image0003.nii.gz",
    ]
    for number, role in ((1, "Tr"), (2, "Ul"), (3, "Ul"), (4, "Ts")):
        image, classes = scan_and_label(number)
        case = dataset / f"images{role}/image{number:04d}_0000.nii.gz"
        np.testing.assert_array_equal(voxels(case), image - 200)
        np.testing.assert_array_equal(voxels(dataset / f"labels{role}/image{number:04d}.nii.gz"), classes)
        written = sitk.ReadImage(str(case))
        np.testing.assert_allclose(written.GetSpacing(), SPACING, rtol=1e-5)
        np.testing.assert_allclose(written.GetOrigin(), ORIGIN, rtol=1e-5)
    assert json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))["channel_names"] == {"0": "CT"}


@pytest.mark.parametrize("orientation", ["RPS", "LAI", "RAI", "PIR"])
@pytest.mark.parametrize("position", [True, False])
def test_turned_labels_are_turned_back_by_their_header(convert, source, capsys, orientation, position):
    _, classes = scan_and_label(2)
    turned = sitk.DICOMOrient(as_image(classes, SPACING, ORIGIN), orientation)
    if not position:
        turned.SetOrigin((0, 0, 0))
    save(turned, source / "labels/label0002.nii.gz")
    dataset, status = convert()
    assert status == 0
    np.testing.assert_array_equal(voxels(dataset / "labelsUl/image0002.nii.gz"), classes)
    output = capsys.readouterr().out
    assert "Corrected, label turned to the orientation of the scan (flipped along" in output
    assert ("label header without position" in output) == (not position)


@pytest.mark.parametrize(
    "geometry",
    [
        {"spacing": (0.7, 0.8, 2.5), "origin": ORIGIN},
        {"spacing": SPACING, "origin": (-30, 12, 12)},
        {"spacing": SPACING, "origin": ORIGIN, "direction": (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1)},
    ],
)
def test_unexplained_geometry_is_refused(convert, source, capsys, geometry):
    _, classes = scan_and_label(2)
    save(as_image(classes, **geometry), source / "labels/label0002.nii.gz")
    dataset, status = convert()
    assert status == 1
    assert "is not on the voxel grid of its scan" in capsys.readouterr().out
    assert "imagesUl/image0003_0000.nii.gz" in files_in(dataset)
    assert "imagesUl/image0002_0000.nii.gz" not in files_in(dataset)


def test_header_without_orientation_is_refused_until_the_user_says(convert, source, capsys):
    for number in (1, 2, 3, 4):
        _, classes = scan_and_label(number)
        path = source / f"labels/label{number:04d}.nii"
        path.with_suffix(".nii.gz").unlink()
        save(as_image(classes[:, ::-1], SPACING), path)
        header = bytearray(path.read_bytes())
        header[252:256] = bytes(4)  # qform_code and sform_code
        path.write_bytes(header)
    _, status = convert()
    assert status == 1
    assert "NIfTI header without orientation" in capsys.readouterr().out
    dataset, status = convert("--flip_labels", "y", "--name", "Flipped", "-d", "112")
    assert status == 0
    for number, role in ((1, "Tr"), (2, "Ul"), (3, "Ul"), (4, "Ts")):
        label = dataset.with_name("Dataset112_Flipped") / f"labels{role}/image{number:04d}.nii.gz"
        np.testing.assert_array_equal(voxels(label), scan_and_label(number)[1])


def missing_slice(folder):
    sorted(folder.iterdir())[2].unlink()


def doubled_slice(folder):
    image = scan_and_label(2)[0]
    (slice_,) = save_dicom(as_image(image[2:3], SPACING, (-30, 12, 5 + 2 * 1.5)), folder / "x", "1.2.3.2", "again")
    slice_.rename(folder / slice_.name)


def two_series(folder):
    save_dicom(as_image(scan_and_label(7)[0], SPACING, ORIGIN), folder, "9.9.9", "b")


def two_series_in_two_folders(folder):
    save_dicom(as_image(scan_and_label(7)[0], SPACING, ORIGIN), folder.with_name("other"), "9.9.9")


def truncated_slice(folder):
    truncate(sorted(folder.iterdir())[2], 0.99)


def destroyed_slice(folder):
    truncate(sorted(folder.iterdir())[-1], 0.1)


def no_dicom(folder):
    for path in folder.iterdir():
        path.write_bytes(b"<html>Please log in</html>")


def truncated_label(folder):
    truncate(folder.parents[2] / "labels/label0002.nii.gz")


def doubled_label(folder):
    save(as_image(scan_and_label(2)[1]), folder.parents[2] / "more/label0002.nii.gz")


def interpolated_label(folder):
    classes = scan_and_label(2)[1].astype(np.float32)
    classes[1, 1, 1] = 0.5
    save(as_image(classes, SPACING, ORIGIN), folder.parents[2] / "labels/label0002.nii.gz")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (missing_slice, "Slices of .* are missing or doubled: 1 gap"),
        (doubled_slice, "missing or doubled"),
        (two_series, r"holds 2 DICOM series: .*\(6 files\)"),
        (two_series_in_two_folders, "found 2 times"),
        (truncated_slice, "not readable slices of the series, such as 002.dcm"),
        (destroyed_slice, "not readable slices of the series, such as 005.dcm"),
        (no_dicom, "holds 0 DICOM series"),
        (truncated_label, "label0002.nii.gz: it is truncated"),
        (doubled_label, "has 2 labels"),
        (interpolated_label, "not class numbers, such as 0.5"),
    ],
)
def test_one_broken_case_leaves_the_others_alone(convert, source, capsys, damage, message):
    damage(series(source, 2))
    dataset, status = convert()
    assert status == 1
    failures = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Failed")]
    assert len(failures) == 1 and failures[0].startswith("Failed, image0002: ")
    assert re.search(message, failures[0])
    assert "imagesUl/image0003_0000.nii.gz" in files_in(dataset)
    assert not [name for name in files_in(dataset) if "0002" in name]


def test_truncated_nifti_image(convert, source, capsys):
    """ITK alone would fill the missing voxels with zeros and say nothing."""
    truncate(source / "image0003.nii.gz")
    assert convert()[1] == 1
    assert "image0003.nii.gz: it is truncated" in capsys.readouterr().out


def test_paper_preprocessing(convert, source):
    image, _ = scan_and_label(1)
    image = image - np.int16(200)
    image[:2], image[-2:] = -1000, 1000  # air and bone
    shutil.rmtree(series(source, 1))
    save_dicom(as_image(image, SPACING, ORIGIN), series(source, 1), "1.2.3.1")
    dataset, status = convert("--paper_preprocessing")
    assert status == 0
    written = sitk.ReadImage(str(dataset / "imagesTr/image0001_0000.nii.gz"))
    assert written.GetSize() == (7, 6, 9)  # 10 · 0.7, 8 · 0.8, 6 · 1.5 mm
    np.testing.assert_allclose(written.GetSpacing(), 1)
    # The outer faces of the volume stay in place.
    np.testing.assert_allclose(np.array(written.GetOrigin()) - 0.5, np.array(ORIGIN) - np.array(SPACING) / 2, atol=1e-4)
    array = sitk.GetArrayFromImage(written)
    assert array.min() == -125 and array.max() == 275
    label = voxels(dataset / "labelsTr/image0001.nii.gz")
    assert label.shape == array.shape and set(np.unique(label)) == {0, 1}
    assert label[0, 0, 0] == 1


def test_withdrawn_cases_are_explained(convert, source, tmp_path, capsys):
    _, status = convert("--test_list", write_list(tmp_path / "other.list", "image0025"))
    assert status == 2
    assert "withdrawn as duplicates" in capsys.readouterr().err


def test_wrong_flip_is_refused(convert, capsys):
    assert convert("--flip_labels", "up")[1] == 2
    assert "none of auto, none, or some of the letters xyz" in capsys.readouterr().err
