"""Left Atrium: both real layouts, broken input, and the real data where it is present."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import SimpleITK as sitk
from commands import locked_by_another_process
from conversion_sources import as_image, files_in, save, scan_and_label, truncate, voxels, write_list

from nnunetv2_crln.dataset_conversion import Dataset101_LeftAtrium as script
from nnunetv2_crln.dataset_conversion.common.splits import published_split
from nnunetv2_crln.layout import RAW_LOCK

REAL = Path(__file__).parents[3] / "shared" / "data"
ROOT = Path(__file__).parents[2]


def write_nrrd(folder, case, seed=0, label=True, **geometry):
    image, classes = scan_and_label(seed, foreground=255)
    save(as_image(image.clip(0, 255).astype(np.uint8), **geometry), folder / case / "lgemri.nrrd")
    if label:
        save(as_image(classes, **geometry), folder / case / "laendo.nrrd")


def write_hdf5(folder, case, seed=0, **replace):
    image, classes = scan_and_label(seed)
    path = folder / case / "mri_norm2.h5"
    path.parent.mkdir(parents=True)
    content = {"image": image.transpose(2, 1, 0).astype(np.float32) / 7, "label": classes.transpose(2, 1, 0)}
    with h5py.File(path, "w") as file:
        for key, value in {**content, **replace}.items():
            if value is not None:
                file[key] = value
    return path


@pytest.fixture
def source(tmp_path):
    """a (HDF5) is labelled; b, c unlabelled (NRRD, HDF5); t is a test case without label."""
    folder = tmp_path / "source"
    write_hdf5(folder, "a", 0)
    write_nrrd(folder, "b", 1)
    write_hdf5(folder, "c", 2)
    write_nrrd(folder, "t", 3, label=False)
    return folder


@pytest.fixture
def convert(nnunet_folders, tmp_path, source):
    """Run the script on the small split; returns the dataset's folder and the exit status."""
    train = write_list(tmp_path / "train.list", "a", "b", "c")
    test = write_list(tmp_path / "test.list", "t")

    def run(*more, folders=(source,), workers=1):
        common = ["--train_list", train, "--test_list", test, "--num_labelled", "1", "-np", str(workers)]
        status = 0
        try:
            script.main(["-i", *map(str, folders), *common, *more])
        except SystemExit as error:
            status = error.code
        return nnunet_folders.raw / "Dataset101_LeftAtrium", status

    return run


def test_both_layouts_in_two_workers(convert, source, capsys):
    dataset, status = convert(workers=2)
    assert status == 0
    assert files_in(dataset) == [
        "dataset.json",
        "imagesTr/a_0000.nii.gz",
        "imagesTs/t_0000.nii.gz",
        "imagesUl/b_0000.nii.gz",
        "imagesUl/c_0000.nii.gz",
        "labelsTr/a.nii.gz",
        "labelsUl/b.nii.gz",
        "labelsUl/c.nii.gz",
    ]
    content = json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))
    assert content["numTraining"] == 1
    assert content["labels"] == {"background": 0, "left atrium": 1}
    assert content["crln"]["labelled_cases"] == ["a"]
    image, classes = scan_and_label(0)
    np.testing.assert_allclose(voxels(dataset / "imagesTr/a_0000.nii.gz"), image / np.float32(7))
    np.testing.assert_array_equal(voxels(dataset / "labelsTr/a.nii.gz"), classes)
    written = sitk.ReadImage(str(dataset / "imagesTr/a_0000.nii.gz"))
    np.testing.assert_allclose(written.GetSpacing(), 0.625)
    scan = sitk.ReadImage(str(source / "b/lgemri.nrrd"))
    written = sitk.ReadImage(str(dataset / "labelsUl/b.nii.gz"))
    np.testing.assert_allclose(written.GetSpacing(), scan.GetSpacing(), rtol=1e-6)
    np.testing.assert_allclose(written.GetOrigin(), scan.GetOrigin(), rtol=1e-6)
    assert set(np.unique(voxels(dataset / "labelsUl/b.nii.gz"))) == {0, 1}
    assert "Test cases without label, to predict but not to score (1): t" in capsys.readouterr().out


def test_crops_around_the_label_are_flagged_and_need_one(convert, source, capsys, monkeypatch):
    monkeypatch.setattr(script, "CROP_MARGIN", (1, 1, None))
    monkeypatch.setattr(script, "CROP_SMALLEST", (2, 2, 2))
    dataset, status = convert("--crop_around_label", "--allow_partial")
    output = capsys.readouterr()
    assert status == 1 and "t" in output.out + output.err
    assert "lgemri.nrrd has no label to crop around" in output.out + output.err
    assert "cropped around its label" in output.out
    content = json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))
    assert content["crln"]["conversion"] == {"crop_around_label": True, "uses_label_knowledge": True}
    classes = voxels(dataset / "labelsUl/b.nii.gz")
    whole = scan_and_label(1)[1]
    assert classes.shape[0] == whole.shape[0] and classes.sum() == (whole > 0).sum()
    assert voxels(dataset / "imagesUl/b_0000.nii.gz").shape == classes.shape


def test_dry_run_writes_nothing(convert, nnunet_folders, capsys):
    _, status = convert("--dry_run")
    assert status == 0
    assert not list(nnunet_folders.raw.iterdir())
    assert "Dry run: nothing was written" in capsys.readouterr().out


def test_a_dataset_is_never_overwritten(convert, capsys):
    dataset, _ = convert()
    before = {name: (dataset / name).stat().st_mtime_ns for name in files_in(dataset)}
    assert convert()[1] == 2
    assert "exists already and is not overwritten" in capsys.readouterr().err
    assert before == {name: (dataset / name).stat().st_mtime_ns for name in files_in(dataset)}
    assert convert("--name", "Other")[1] == 2
    assert "already in use by Dataset101_LeftAtrium" in capsys.readouterr().err


def test_missing_cases_need_a_flag(convert, source, capsys, nnunet_folders):
    (source / "t" / "lgemri.nrrd").unlink()
    assert convert()[1] == 2
    assert "1 of 4 cases of the split were not found: t" in capsys.readouterr().err
    assert not list(nnunet_folders.raw.iterdir())
    dataset, status = convert("--allow_partial")
    assert status == 0
    assert (dataset / "dataset.json").is_file() and not (dataset / "imagesTs").exists()
    assert "Missing (1): t" in capsys.readouterr().out


def break_hdf5(source):
    truncate(source / "c/mri_norm2.h5")


def break_nrrd(source):
    truncate(source / "b/lgemri.nrrd")


def wrong_values(source):
    _, classes = scan_and_label(1)
    save(as_image(classes * 3), source / "b/laendo.nrrd")


def mixed_values(source):
    _, classes = scan_and_label(1)
    classes[0, 0, :2] = 255
    save(as_image(classes), source / "b/laendo.nrrd")


def other_grid(source):
    _, classes = scan_and_label(1, foreground=255)
    save(as_image(classes, origin=(0, 0, 100)), source / "b/laendo.nrrd")


def empty_label(source):
    _, classes = scan_and_label(1)
    save(as_image(classes * 0), source / "b/laendo.nrrd")


def nan_image(source):
    (source / "c/mri_norm2.h5").unlink()
    (source / "c").rmdir()
    write_hdf5(source, "c", image=np.full((4, 4, 4), np.nan, np.float32), label=np.ones((4, 4, 4)))


def no_image_inside(source):
    (source / "c/mri_norm2.h5").unlink()
    (source / "c").rmdir()
    write_hdf5(source, "c", image=None)


def found_twice(source):
    write_hdf5(source / "again", "b")


@pytest.mark.parametrize(
    ("damage", "case", "message"),
    [
        (break_hdf5, "c", "truncated, damaged or not an HDF5 file"),
        (break_nrrd, "b", "lgemri.nrrd: it is truncated, damaged or not an image"),
        (wrong_values, "b", r"label value\(s\) \[3\], expected only \[0, 1\]"),
        (mixed_values, "b", r"label value\(s\) \[1\], expected only \[0, 255\]"),
        (other_grid, "b", "is not on the voxel grid of its scan"),
        (empty_label, "b", "marks nothing"),
        (nan_image, "c", "NaN or infinite voxels"),
        (no_image_inside, "c", "has no data set 'image'"),
        (found_twice, "b", "found 2 times"),
    ],
)
def test_one_broken_case_leaves_the_others_alone(convert, source, capsys, damage, case, message):
    damage(source)
    dataset, status = convert()
    assert status == 1
    output = capsys.readouterr()
    (failure,) = [line for line in output.out.splitlines() if line.startswith("Failed")]
    assert failure.startswith(f"Failed, {case}: ")
    assert re.search(message, failure)
    other = {"b": "c", "c": "b"}[case]
    assert files_in(dataset) == [
        "dataset.json.incomplete",
        "imagesTr/a_0000.nii.gz",
        "imagesTs/t_0000.nii.gz",
        f"imagesUl/{other}_0000.nii.gz",
        "labelsTr/a.nii.gz",
        f"labelsUl/{other}.nii.gz",
    ]
    assert "has no dataset.json yet" in output.err


def test_the_same_command_goes_on_after_a_repair(convert, source, capsys):
    truncate(source / "b/lgemri.nrrd")
    dataset, _ = convert()
    done = (dataset / "imagesTr/a_0000.nii.gz").stat().st_mtime_ns
    # What a killed process leaves behind must not become a case of nnU-Net.
    (dataset / "imagesUl/.0123abcd_b_0000.nii.gz").write_bytes(b"half")
    write_nrrd(source, "b", 1)
    assert convert("--num_labelled", "2")[1] == 2
    assert "unfinished conversion with other settings" in capsys.readouterr().err
    assert convert()[1] == 0
    assert (dataset / "imagesTr/a_0000.nii.gz").stat().st_mtime_ns == done
    assert "imagesUl/b_0000.nii.gz" in files_in(dataset)
    assert not [name for name in files_in(dataset) if "incomplete" in name or "/." in name]


def test_two_conversions_at_once_do_not_meet(convert, source, capsys):
    truncate(source / "b/lgemri.nrrd")
    dataset, _ = convert()
    written_now = dataset / "imagesUl/.0123abcd_b_0000.nii.gz"
    written_now.write_bytes(b"half")
    with locked_by_another_process(dataset / RAW_LOCK):
        assert convert()[1] == 2
    assert "Dataset101_LeftAtrium is being written by another conversion" in capsys.readouterr().err
    assert written_now.read_bytes() == b"half"


def test_a_case_taken_off_the_list_does_not_stay(convert, source, capsys, tmp_path):
    truncate(source / "b/lgemri.nrrd")
    dataset, _ = convert()
    assert (dataset / "imagesUl/c_0000.nii.gz").is_file()
    write_list(tmp_path / "train.list", "a", "b")
    write_nrrd(source, "b", 1)
    assert convert()[1] == 2
    assert "unfinished conversion with other settings or cases" in capsys.readouterr().err
    write_list(tmp_path / "train.list", "a", "b", "c")
    assert convert()[1] == 0
    assert "cases" not in json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))


def test_a_broken_case_can_be_left_out_on_request(convert, source):
    truncate(source / "b/lgemri.nrrd")
    dataset, status = convert("--allow_partial")
    assert status == 1
    assert (dataset / "dataset.json").is_file()
    assert not (dataset / "imagesUl/b_0000.nii.gz").exists()


def test_labelled_case_without_label_fails(convert, source, capsys, tmp_path):
    (source / "b/laendo.nrrd").unlink()
    train = write_list(tmp_path / "other.list", "b", "c")
    _, status = convert("--train_list", train)
    assert status == 1
    assert "Failed, b: is a labelled case, but has no label" in capsys.readouterr().out


def test_nrrd_wins_over_the_crop_beside_it(convert, source, capsys):
    write_hdf5(source, "extra", 9)
    (source / "extra/mri_norm2.h5").rename(source / "b/mri_norm2.h5")
    dataset, status = convert()
    assert status == 0
    assert "mri_norm2.h5 beside lgemri.nrrd (1)" in capsys.readouterr().out
    assert voxels(dataset / "imagesUl/b_0000.nii.gz").dtype == np.uint8


@pytest.mark.parametrize("name", ["../evil", "a/b", "/etc/x", "..", ".hidden"])
def test_hostile_names_in_lists_are_refused(convert, tmp_path, capsys, name, nnunet_folders):
    assert convert("--train_list", write_list(tmp_path / "evil.list", "a", name))[1] == 2
    assert "is not a valid case name" in capsys.readouterr().err
    assert not list(nnunet_folders.raw.iterdir())


@pytest.mark.parametrize("names", [("a", "a"), ("a", "t")])
def test_a_case_is_in_one_list_only(convert, tmp_path, capsys, names):
    assert convert("--train_list", write_list(tmp_path / "twice.list", *names))[1] == 2
    assert "twice" in capsys.readouterr().err


def test_wrong_folder(convert, tmp_path, capsys):
    assert convert(folders=[tmp_path / "nowhere"])[1] == 2
    assert "nowhere is not a folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert convert(folders=[tmp_path / "empty"])[1] == 2
    assert "None of the 1 labelled cases of the split was found" in capsys.readouterr().err


def test_unreadable_folder(convert, source, monkeypatch, capsys):
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # file modes do not bind the root user of a container
    dataset, status = convert()
    assert status == 1
    assert re.search(r"Failed, b: cannot list .*/b: Permission denied", capsys.readouterr().out)
    assert "imagesUl/c_0000.nii.gz" in files_in(dataset)


def test_missing_h5py_names_the_pip_command(convert, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert convert()[1] == 2
    assert "pip install h5py" in capsys.readouterr().err


def test_full_disk(convert, source, nnunet_folders, tmp_path):
    """A limit on the file size makes writes fail half-way, just as a full disk does."""
    rng = np.random.default_rng(0)
    save(as_image(rng.integers(0, 255, (40, 40, 40), dtype=np.uint8)), source / "t/lgemri.nrrd")
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); "
        "from nnunetv2_crln.dataset_conversion.Dataset101_LeftAtrium import main; main(sys.argv[1:])"
    )
    lists = ["--train_list", str(tmp_path / "train.list"), "--test_list", str(tmp_path / "test.list")]
    result = subprocess.run(
        [sys.executable, "-c", code, "-i", str(source), *lists, "--num_labelled", "1", "-np", "1"],
        capture_output=True,
        encoding="utf-8",
        cwd=ROOT,
    )
    assert result.returncode == 1
    assert "Failed, t: " in result.stdout and "disk full" in result.stdout
    names = files_in(nnunet_folders.raw / "Dataset101_LeftAtrium")
    assert "imagesUl/b_0000.nii.gz" in names
    assert not [name for name in names if "imagesTs" in name or "/." in name]


def test_script_of_the_checkout(tmp_path):
    result = subprocess.run(
        [sys.executable, str(ROOT / "dataset_conversion" / "Dataset101_LeftAtrium.py"), "--help"],
        capture_output=True,
        encoding="utf-8",
        cwd=tmp_path,
    )
    assert result.returncode == 0 and "lgemri.nrrd" in result.stdout


@pytest.mark.skipif(not (REAL / "left_atrium_h5").is_dir(), reason="real data not present")
def test_real_cases_of_both_layouts(nnunet_folders, tmp_path):
    split = published_split("left_atrium")
    crops, originals = split.train[:2], split.train[20:22]
    train = write_list(tmp_path / "train.list", *crops, *originals)
    test = write_list(tmp_path / "test.list", split.test[0])
    folders = [str(REAL / name) for name in ("left_atrium_h5", "left_atrium_nrrd", "left_atrium_test_images")]
    lists = ["--train_list", train, "--test_list", test, "--num_labelled", "2", "-np", "1"]
    script.main(["-i", *folders, *lists])
    dataset = nnunet_folders.raw / "Dataset101_LeftAtrium"
    for case in crops:
        with h5py.File(REAL / "left_atrium_h5" / case / "mri_norm2.h5") as file:
            np.testing.assert_array_equal(
                voxels(dataset / f"imagesTr/{case}_0000.nii.gz"), file["image"][()].transpose(2, 1, 0)
            )
            np.testing.assert_array_equal(voxels(dataset / f"labelsTr/{case}.nii.gz"), file["label"][()].T)
    for case in originals:
        folder = REAL / "left_atrium_nrrd" / case
        np.testing.assert_array_equal(voxels(dataset / f"imagesUl/{case}_0000.nii.gz"), voxels(folder / "lgemri.nrrd"))
        np.testing.assert_array_equal(
            voxels(dataset / f"labelsUl/{case}.nii.gz") * np.uint8(255), voxels(folder / "laendo.nrrd")
        )
