"""make_semi_supervised: which labels are hidden, what is corrected, and that a failure leaves nothing behind."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from conversion_sources import files_in, truncate, voxels, write_list
from synthetic import write_dataset

from nnunetv2_crln.cli import hide_labels as script
from nnunetv2_crln.raw_dataset.check_images import verify_images
from nnunetv2_crln.raw_dataset.check_names import check_dataset
from nnunetv2_crln.raw_dataset.survey import Survey

ROOT = Path(__file__).parents[2]


@pytest.fixture
def source(make_dataset):
    """Six labelled cases lab_000 … lab_005 and two test cases with labels."""
    return make_dataset(dataset_id=4, name="Source", labelled=6, unlabelled=0, test=2, shape=(8, 8, 8))


@pytest.fixture
def make(source):
    """Run the script; returns the new dataset's folder and the exit status."""

    def run(*options, workers=1):
        status = 0
        try:
            script.main(["-d", "4", "-o", "104", "-np", str(workers), *options])
        except SystemExit as error:
            status = error.code
        return source.with_name("Dataset104_Source"), status

    return run


def labelled_cases(dataset):
    return json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))["crln"]["labelled_cases"]


@pytest.mark.parametrize("copy", [False, True])
def test_labels_are_hidden(make, source, copy):
    dataset, status = make("--num_labelled", "2", *(["--copy"] if copy else []), workers=2)
    assert status == 0
    content = json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))
    shown = content["crln"]["labelled_cases"]
    assert content["numTraining"] == len(shown) == 2
    assert content["crln"] == {"source": source.name, "labelled_cases": shown, "seed": 0, "test_images_added": False}
    everything = {f"lab_{index:03d}" for index in range(6)}
    assert {path.name[:7] for path in (dataset / "imagesTr").iterdir()} == set(shown)
    assert {path.name[:7] for path in (dataset / "labelsTr").iterdir()} == set(shown)
    assert {path.name[:7] for path in (dataset / "imagesUl").iterdir()} == everything - set(shown)
    assert {path.name[:7] for path in (dataset / "labelsUl").iterdir()} == everything - set(shown)
    assert files_in(dataset / "imagesTs") == files_in(source / "imagesTs")
    assert files_in(dataset / "labelsTs") == files_in(source / "labelsTs")
    for path in dataset.rglob("*.nii.gz"):
        assert path.is_symlink() != copy
    assert not [path for path in source.parent.iterdir() if path.name.startswith(".")]
    check_dataset(dataset)
    verify_images(dataset, show_progress=False)


def test_links_survive_moving_nnunet_raw(make, source):
    dataset, status = make("--num_labelled", "2")
    assert status == 0
    moved = source.parent.rename(source.parent.with_name("moved"))
    files = list((moved / dataset.name).rglob("*.nii.gz"))
    assert files and all(path.resolve().is_file() for path in files)


def test_links_survive_moving_a_linked_nnunet_raw(make, source, monkeypatch):
    root = source.parent
    linked = root.with_name("linked")
    linked.symlink_to(root)
    monkeypatch.setenv("nnUNet_raw", str(linked))
    dataset, status = make("--num_labelled", "2")
    assert status == 0
    moved = root.rename(root.with_name("moved"))
    linked.unlink()
    files = list((moved / dataset.name).rglob("*.nii.gz"))
    assert files and all(path.resolve().is_file() for path in files)


def test_links_of_links_lead_to_the_files(make, source):
    make("--num_labelled", "4")
    script.main(["-d", "104", "-o", "105", "--num_labelled", "2", "-np", "1"])
    shutil.rmtree(source.with_name("Dataset104_Source"))
    files = list(source.with_name("Dataset105_Source").rglob("*.nii.gz"))
    assert files and all(path.resolve().is_file() for path in files)


def write_tiff(folder, labelled=4):
    """Write a 3D TIFF dataset; its spacing lies in JSON files beside images and labels."""
    for index in range(labelled):
        for name, kind in ((f"imagesTr/lab_{index}_0000", np.float32), (f"labelsTr/lab_{index}", np.uint8)):
            path = folder / f"{name}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path, np.arange(8 * 9 * 10).reshape(8, 9, 10).astype(kind) % 2)
            path.with_name(f"lab_{index}.json").write_text('{"spacing": [3.0, 0.5, 0.5]}')
    content = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "a": 1}}
    (folder / "dataset.json").write_text(json.dumps({**content, "numTraining": labelled, "file_ending": ".tif"}))


@pytest.mark.parametrize("copy", [False, True])
def test_spacing_files_of_tiff_come_along(nnunet_folders, copy):
    write_tiff(nnunet_folders.raw / "Dataset004_Source")
    options = ["--copy"] if copy else []
    script.main(["-d", "4", "-o", "104", "--num_labelled", "2", "-np", "1", *options])
    dataset = nnunet_folders.raw / "Dataset104_Source"
    for folder in ("imagesTr", "labelsTr", "imagesUl", "labelsUl"):
        assert sorted(path.suffix for path in (dataset / folder).iterdir()) == [".json"] * 2 + [".tif"] * 2
    reports = Survey(dataset, 1, False).reports
    assert {report.spacing for channels in reports.values() for report in channels} == {(3.0, 0.5, 0.5)}
    assert check_dataset(dataset) == []


def test_labels_are_opened_with_the_datasets_reader(nnunet_folders):
    """SimpleITK refuses headers whose axes are not at right angles."""
    folder = nnunet_folders.raw / "Dataset004_Source"
    affine = np.array([[1, 0.05, 0, 3], [0, 1, 0, 4], [0, 0.04, 1.2, 5], [0, 0, 0, 1.0]])
    for index in range(4):
        for name, kind in ((f"imagesTr/lab_{index}_0000", np.float32), (f"labelsTr/lab_{index}", np.uint8)):
            path = folder / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = nibabel.Nifti1Image(np.arange(720).reshape(8, 9, 10).astype(kind) % 2, affine)
            image.set_sform(affine, 1)
            image.set_qform(None, 0)
            nibabel.save(image, path)
    content = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "a": 1}, "numTraining": 4}
    content |= {"file_ending": ".nii.gz", "overwrite_image_reader_writer": "NibabelIO"}
    (folder / "dataset.json").write_text(json.dumps(content))
    script.main(["-d", "4", "-o", "104", "--num_labelled", "2", "-np", "1"])
    assert len(list(nnunet_folders.raw.glob("Dataset104_Source/labelsUl/*.nii.gz"))) == 2


def test_smaller_choices_are_part_of_larger_ones(make, source):
    chosen = []
    for number in (1, 2, 4):
        dataset, _ = make("--num_labelled", str(number), "--seed", "3")
        chosen.append(set(labelled_cases(dataset)))
        shutil.rmtree(dataset)
    assert chosen[0] < chosen[1] < chosen[2]
    dataset, _ = make("--num_labelled", "2", "--seed", "4")
    assert set(labelled_cases(dataset)) != chosen[1]


@pytest.mark.parametrize("ending", ["txt", "json"])
def test_chosen_labelled_cases(make, tmp_path, ending):
    path = tmp_path / f"cases.{ending}"
    names = ["lab_004", "lab_001"]
    path.write_text(json.dumps(names) if ending == "json" else "# mine\nlab_004\n\nlab_001  # good\n")
    dataset, status = make("--labelled_cases", str(path), "--name", "Source")
    assert status == 0
    assert labelled_cases(dataset) == sorted(names)
    assert json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))["crln"]["seed"] is None


def test_test_images_may_become_unlabelled_ones(make):
    dataset, status = make("--num_labelled", "2", "--add_test_images")
    assert status == 0
    assert not (dataset / "imagesTs").exists() and not (dataset / "labelsTs").exists()
    assert {"imagesUl/tst_000_0000.nii.gz", "labelsUl/tst_001.nii.gz"} <= set(files_in(dataset))


def test_labelled_cases_may_become_test_cases(make, tmp_path, capsys):
    test = write_list(tmp_path / "test.txt", "lab_000", "lab_003")
    dataset, status = make("--num_labelled", "2", "--test_cases", test)
    assert status == 0
    assert [name for name in files_in(dataset) if "Ts" in name] == [
        "imagesTs/lab_000_0000.nii.gz",
        "imagesTs/lab_003_0000.nii.gz",
        "labelsTs/lab_000.nii.gz",
        "labelsTs/lab_003.nii.gz",
    ]
    assert not {"lab_000", "lab_003"} & set(labelled_cases(dataset))
    assert "left out: 2 test images of the source: tst_000, tst_001" in capsys.readouterr().out


def test_a_semi_supervised_dataset_can_be_split_again(make, source):
    make("--num_labelled", "4")
    script.main(["-d", "104", "-o", "105", "--num_labelled", "2", "-np", "1"])
    dataset = source.with_name("Dataset105_Source")
    assert len(list((dataset / "imagesTr").iterdir())) == 2
    assert len(list((dataset / "imagesUl").iterdir())) == len(list((dataset / "labelsUl").iterdir())) == 4
    assert all(path.resolve().is_file() for path in dataset.rglob("*.nii.gz"))


def rewrite(path, dtype=None, **geometry):
    image = sitk.ReadImage(str(path))
    image = sitk.Cast(image, dtype) if dtype else image
    for key, value in geometry.items():
        getattr(image, f"Set{key}")(value)
    path.unlink()
    sitk.WriteImage(image, str(path))


@pytest.mark.parametrize("copy", [False, True])
def test_float_labels_and_headers_slightly_off_are_rewritten(make, source, capsys, copy):
    floats, shifted, tilted = (source / f"labelsTr/lab_00{number}.nii.gz" for number in range(3))
    rewrite(floats, sitk.sitkFloat64)
    rewrite(shifted, Origin=(0.02, 0, 0))
    rewrite(tilted, Direction=(1, -0.005, 0, 0.005, 1, 0, 0, 0, 1))
    before = {path: path.read_bytes() for path in (floats, shifted, tilted)}
    dataset, status = make("--num_labelled", "3", *(["--copy"] if copy else []))
    assert status == 0
    output = capsys.readouterr().out
    assert "Corrected lab_000: label rewritten as integers on the grid of the image (stored as 64-bit float)" in output
    assert "Corrected lab_001: " in output and "0.02 voxels off" in output and "Corrected lab_002: " in output
    for path, content in before.items():
        assert path.read_bytes() == content, "the source must not change"
        (new,) = dataset.glob(f"labels*/{path.name}")
        assert not new.is_symlink()
        image = sitk.ReadImage(str(new))
        assert image.GetPixelID() == sitk.sitkUInt8 and image.GetOrigin() == (0, 0, 0)
        np.testing.assert_array_equal(voxels(new), voxels(path))


def half_label(source):
    rewrite(source / "labelsTr/lab_000.nii.gz", sitk.sitkFloat32)
    image = sitk.ReadImage(str(source / "labelsTr/lab_000.nii.gz"))
    image[0, 0, 0] = 0.5
    sitk.WriteImage(image, str(source / "labelsTr/lab_000.nii.gz"))


def unknown_class(source):
    image = sitk.ReadImage(str(source / "labelsTr/lab_000.nii.gz"))
    image[0, 0, 0] = 9
    sitk.WriteImage(image, str(source / "labelsTr/lab_000.nii.gz"))


def other_grid(source):
    rewrite(source / "labelsTr/lab_000.nii.gz", Spacing=(1, 1, 2))


def truncated_label(source):
    truncate(source / "labelsTr/lab_000.nii.gz")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (half_label, "lab_000.*not class numbers, such as 0.5"),
        (unknown_class, r"lab_000.*label value\(s\) \[9\], expected only \[0, 1, 2\]"),
        (other_grid, "lab_000.*has another voxel grid than its image"),
        (truncated_label, "lab_000.*truncated, damaged or not an image"),
    ],
)
def test_unusable_labels_are_listed_and_nothing_is_left(make, source, capsys, damage, message):
    damage(source)
    dataset, status = make("--num_labelled", "2")
    assert status == 2
    error = capsys.readouterr().err
    assert "1 of 8 case(s)" in error and "Nothing was written" in error
    assert re.search(message, error)
    assert [path.name for path in dataset.parent.iterdir()] == [source.name]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--num_labelled", "0"], "argument --num_labelled: '0': expected a whole number, 1 or more"),
        (["--num_labelled", "7"], "--num_labelled is 7, expected 1 to 6"),
        (["--num_labelled", "6"], "none would be unlabelled"),
        (["--num_labelled", "2", "--name", "../evil"], "argument --name: '../evil': expected a name"),
        (["--num_labelled", "2", "--name", "my heart"], "is not a valid dataset name"),
        (["--num_labelled", "2", "-o", "1000"], "argument -o: '1000': expected a whole number from 1 to 999"),
        (["--num_labelled", "2", "-o", "4"], "is not overwritten"),
        (["--num_labelled", "2", "-o", "4", "--name", "Other"], "already in use by Dataset004_Source"),
        (["--num_labelled", "2", "-d", "5"], "0 folders named Dataset005_"),
        (["--labelled_cases", "nowhere.txt"], "Cannot read the case list nowhere.txt"),
    ],
)
def test_impossible_requests(make, source, capsys, options, message):
    assert make(*options)[1] == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in source.parent.iterdir()] == [source.name]


def test_unknown_labelled_case(make, tmp_path, capsys):
    assert make("--labelled_cases", write_list(tmp_path / "cases.txt", "lab_000_0000"))[1] == 2
    assert "no label for: lab_000_0000. Expected names such as lab_000" in capsys.readouterr().err


def test_one_case_in_training_and_test_folder_is_a_leak(make, source, capsys):
    shutil.copy(source / "imagesTr/lab_000_0000.nii.gz", source / "imagesTs")
    assert make("--num_labelled", "2")[1] == 2
    assert "occur in more than one of imagesTr, imagesUl and imagesTs" in capsys.readouterr().err


def test_image_without_label(make, source, capsys):
    (source / "labelsTr/lab_002.nii.gz").unlink()
    assert make("--num_labelled", "2")[1] == 2
    assert "1 case(s) without a label in labelsTr: lab_002" in capsys.readouterr().err


def test_dry_run_writes_nothing(make, source, capsys):
    assert make("--num_labelled", "2", "--dry_run")[1] == 0
    assert "imagesUl:    4 unlabelled, 4 with a label in labelsUl" in capsys.readouterr().out
    assert [path.name for path in source.parent.iterdir()] == [source.name]


def test_without_nnunet_raw(make, monkeypatch, capsys):
    monkeypatch.delenv("nnUNet_raw")
    assert make("--num_labelled", "2")[1] == 2
    assert "export nnUNet_raw=" in capsys.readouterr().err


def test_several_channels_and_classes_with_nrrd_files(nnunet_folders):
    write_dataset(nnunet_folders.raw, 4, "Two", 3, 0, 0, (8, 8, 8), channels=2, classes=4, file_ending=".nrrd")
    script.main(["-d", "4", "-o", "104", "--num_labelled", "1", "-np", "1"])
    dataset = nnunet_folders.raw / "Dataset104_Two"
    assert len(list((dataset / "imagesUl").iterdir())) == 4
    assert len(list((dataset / "labelsUl").iterdir())) == 2


def test_script_of_the_checkout(source):
    command = [sys.executable, str(ROOT / "dataset_conversion" / "make_semi_supervised.py")]
    result = subprocess.run(
        [*command, "-d", "4", "-o", "104", "--num_labelled", "2", "-np", "1"],
        capture_output=True,
        encoding="utf-8",
        env=os.environ,
    )
    assert result.returncode == 0, result.stderr
    assert "nnUNetv2_crln_plan_and_preprocess -d 104" in result.stdout
