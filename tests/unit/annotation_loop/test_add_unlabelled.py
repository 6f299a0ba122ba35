"""Scans come into imagesUl; what is refused beside that."""

import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from conversion_sources import save_dicom
from synthetic import make_case, write_image

from nnunetv2_crln.annotation_loop.add_unlabelled import AddOptions, add_unlabelled
from nnunetv2_crln.annotation_loop.scan_admission import ADDED, REFUSED
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.raw_dataset.check_images import verify_images
from nnunetv2_crln.utilities.json_files import read_json, write_json

SHAPE = (8, 8, 8)


@pytest.fixture
def dataset(make_dataset):
    return make_dataset(dataset_id=5, unlabelled=1, shape=SHAPE)


def contents(folder):
    return {path.relative_to(folder): path.is_symlink() or path.read_bytes() for path in folder.rglob("*.nii.gz")}


def write_scan(path, seed=70):
    write_image(make_case(np.random.default_rng(seed), SHAPE)[0][0], path)


def add(folder, **options):
    return add_unlabelled(AddOptions(5, (folder,), processes=1, preprocess=False, show_progress=False, **options))


@pytest.mark.parametrize("copy", [True, False])
def test_imagesul_may_lie_on_another_disk(dataset, tmp_path, every_folder_is_a_disk, copy):
    scan = tmp_path / "scans" / "a.nii.gz"
    write_scan(scan)
    assert len(add(scan.parent, copy=copy).of(ADDED)) == 1
    added = dataset / "imagesUl" / "a_0000.nii.gz"
    assert added.read_bytes() == scan.read_bytes() and added.is_symlink() != copy


def test_endings_in_upper_case_are_linked_or_refused_with_a_new_name(dataset, tmp_path):
    folder = tmp_path / "scans"
    for seed, (written, name) in enumerate([("a.nii.gz", "P2.NII.GZ"), ("b.nrrd", "p3.NRRD")], 80):
        write_scan(folder / written, seed)
        (folder / written).rename(folder / name)
    summary = add(folder)
    assert [scan.name for scan, _ in summary.of(ADDED)] == ["P2"]
    assert (dataset / "imagesUl" / "P2_0000.nii.gz").resolve() == (folder / "P2.NII.GZ").resolve()
    ((scan, reason),) = summary.of(REFUSED)
    assert scan.name == "p3" and "rename p3.NRRD to p3.nrrd" in reason


def test_an_incomplete_dataset_json_is_named(dataset, tmp_path):
    content = read_json(dataset / "dataset.json")
    write_json({key: value for key, value in content.items() if key != "file_ending"}, dataset / "dataset.json")
    write_scan(tmp_path / "scans" / "a.nii.gz")
    with pytest.raises(UserError, match="has no file_ending"):
        add(tmp_path / "scans")


@pytest.mark.parametrize("images", ["imagesTr/lab_000", "imagesUl/unl_000", "imagesTs/tst_000"])
def test_nothing_is_added_while_linked_images_cannot_be_reached(dataset, tmp_path, images):
    """The new scan has the name of one of them, or may be one of them."""
    link = dataset / f"{images}_0000.nii.gz"
    link.unlink()
    link.symlink_to(tmp_path / "share" / "scan.nii.gz")
    write_scan(tmp_path / "scans" / f"{link.name.removesuffix('_0000.nii.gz')}.nii.gz")
    before = contents(dataset)
    with pytest.raises(UserError, match=rf"1 broken link\(s\): {images}_0000.*share.*not mounted: bring them back"):
        add(tmp_path / "scans")
    assert contents(dataset) == before


def test_a_linked_folder_that_cannot_be_reached_counts_too(dataset, tmp_path):
    shutil.rmtree(dataset / "imagesTs")
    (dataset / "imagesTs").symlink_to(tmp_path / "share")
    write_scan(tmp_path / "scans" / "a.nii.gz")
    with pytest.raises(UserError, match=r"1 broken link\(s\): imagesTs → .*share"):
        add(tmp_path / "scans")


def with_pixel(value):
    def change(image):
        image[0, 0, 0] = value

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (with_pixel(float("nan")), "NaN or infinite voxels"),
        (with_pixel(3e38), "too large to normalise"),
        (lambda image: image.SetSpacing((0.01, 0.01, 0.01)), "10 times off"),
        (lambda image: image.SetOrigin((float("nan"), 0, 0)), "origin or direction is not valid"),
    ],
    ids=["nan", "overflow", "spacing", "origin"],
)
def test_what_the_check_of_the_dataset_calls_an_error_is_not_added(make_dataset, tmp_path, change, reason):
    dataset = make_dataset(dataset_id=5, unlabelled=1, shape=SHAPE)
    scan = tmp_path / "scans" / "a.nii.gz"
    write_scan(scan)
    image = sitk.ReadImage(str(scan))
    change(image)
    sitk.WriteImage(image, str(scan))
    ((_, found),) = add(scan.parent).of(REFUSED)
    assert reason in found
    shutil.copy(scan, dataset / "imagesUl" / "a_0000.nii.gz")
    with pytest.raises(UserError, match=r"1 kind\(s\) of error"):
        verify_images(dataset, show_progress=False)


def test_voxels_beside_two_headers_do_not_replace_each_other(make_dataset, tmp_path):
    dataset = make_dataset(dataset_id=5, unlabelled=1, shape=SHAPE, file_ending=".nrrd")
    for seed, name in enumerate("ab", 70):
        write_scan(tmp_path / "scans" / name / f"{name}.nrrd", seed)
        header, voxels = (tmp_path / "scans" / name / f"{name}.nrrd").read_bytes().split(b"\n\n", 1)
        (tmp_path / "scans" / name / "voxels.raw").write_bytes(voxels)
        (tmp_path / "scans" / name / f"{name}.nrrd").write_bytes(header + b"\ndata file: voxels.raw\n\n")
    assert len(add(tmp_path / "scans").of(ADDED)) == 2
    for name in "ab":
        added, source = dataset / "imagesUl" / f"{name}_{name}_0000.nrrd", tmp_path / "scans" / name / f"{name}.nrrd"
        assert np.array_equal(*(sitk.GetArrayFromImage(sitk.ReadImage(str(file))) for file in (added, source)))
    assert not (dataset / "imagesUl" / "voxels.raw").exists()


@pytest.mark.parametrize(("channel", "added"), [("ct", ["series_CT"]), ("MRI", ["series_CT", "series_MR"])])
def test_a_series_of_another_modality_does_not_join_cts(make_dataset, tmp_path, channel, added):
    make_dataset(dataset_id=5, unlabelled=1, shape=SHAPE, channel_name=channel)
    for seed, modality in enumerate(("CT", "MR"), 70):
        voxels = make_case(np.random.default_rng(seed), SHAPE)[0][0].astype(np.int16)
        folder = tmp_path / "scans" / "series" / modality
        save_dicom(sitk.GetImageFromArray(voxels), folder, f"1.2.{seed}", modality=modality)
    summary = add(tmp_path / "scans")
    assert [scan.name for scan, _ in summary.of(ADDED)] == added
    for scan, reason in summary.of(REFUSED):
        assert scan.name == "series_MR" and "modality MR (DICOM's 0008,0060), expected CT" in reason


def test_labels_beside_scans_are_not_added(dataset, tmp_path):
    write_scan(tmp_path / "scans" / "a.nii.gz")
    write_image(make_case(np.random.default_rng(70), SHAPE)[1], tmp_path / "scans" / "a_gt.nii.gz")
    summary = add(tmp_path / "scans")
    assert [scan.name for scan, _ in summary.of(ADDED)] == ["a"]
    assert "few different values" in summary.of(REFUSED)[0][1]
    for path in (dataset / "imagesTr").iterdir():  # images that are as coarse themselves
        sitk.WriteImage(sitk.ReadImage(str(path)) > 100, str(path))
    assert [scan.name for scan, _ in add(tmp_path / "scans").of(ADDED)] == ["a_gt"]


@pytest.mark.parametrize(("name", "present"), [("LAB_000", "imagesTr/lab_000"), ("Unl_000", "imagesUl/unl_000")])
def test_a_name_that_differs_from_a_case_in_upper_case_alone_is_refused(dataset, tmp_path, name, present):
    """On macOS and Windows the new file would replace the old one."""
    before = sorted(path.name for path in (dataset / "imagesUl").iterdir())
    write_scan(tmp_path / "scans" / f"{name}.nii.gz")
    ((_, reason),) = add(tmp_path / "scans").of(REFUSED)
    assert f"{present} has this name, but for upper and lower case, and other voxels; give new names" in reason
    assert sorted(path.name for path in (dataset / "imagesUl").iterdir()) == before


def test_an_unfinished_case_of_another_spelling_is_not_continued(make_dataset, tmp_path):
    dataset = make_dataset(dataset_id=5, unlabelled=1, shape=SHAPE, channels=2)
    for channel in range(2):
        write_scan(tmp_path / "scans" / f"a_000{channel}.nii.gz", 70 + channel)
    shutil.copy(tmp_path / "scans" / "a_0000.nii.gz", dataset / "imagesUl" / "A_0000.nii.gz")
    assert [scan.name for scan, _ in add(tmp_path / "scans").of(REFUSED)] == ["a"]
    (dataset / "imagesUl" / "A_0000.nii.gz").rename(dataset / "imagesUl" / "a_0000.nii.gz")
    assert [scan.name for scan, _ in add(tmp_path / "scans").of(ADDED)] == ["a"]
