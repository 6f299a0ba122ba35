"""ACDC: both layouts, phases that stay together, broken input, and the real data where it is present."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from conversion_sources import as_image, files_in, save, scan_and_label, truncate, voxels, write_list

from nnunetv2_crln.dataset_conversion import Dataset104_ACDC as script
from nnunetv2_crln.dataset_conversion.common.splits import published_split
from nnunetv2_crln.raw_dataset.check_images import verify_images

REAL = Path(__file__).parents[3] / "shared" / "data" / "acdc"
PHASES = {"001": (1, 12), "002": (11, 4), "003": (1, 9), "004": (1, 2), "005": (1, 10)}  # end-diastole, end-systole
ROLES = {"001": "Tr", "002": "Ul", "003": "Ul", "004": "Tr", "005": "Ts"}  # labelled, unlabelled, validation, test


def case(patient, phase):
    return f"patient{patient}_frame{phase:02d}"


def volumes(patient, phase):
    """Image and label of one phase, other than those of any other."""
    image, classes = scan_and_label(2 * int(patient) + phase)
    classes[1, 1, :3] = (1, 2, 3)
    return image, classes


def write_info(folder, patient, end_diastole, end_systole):
    (folder / "Info.cfg").write_text(f"ED: {end_diastole}\nES: {end_systole}\nGroup: DCM\nHeight: 184.0\nNbFrame: 30\n")


def write_challenge(root):
    """Patient 002 is recorded from the systole on; patient 005 has no label; all have a 4D series."""
    for patient, frames in PHASES.items():
        folder = root / ("testing" if patient == "005" else "training") / f"patient{patient}"
        for phase, frame in enumerate(frames, start=1):
            image, classes = volumes(patient, phase)
            save(as_image(image), folder / f"patient{patient}_frame{frame:02d}.nii.gz")
            if patient != "005":
                save(as_image(classes), folder / f"patient{patient}_frame{frame:02d}_gt.nii.gz")
        (folder / f"patient{patient}_4d.nii.gz").write_bytes(b"never opened")
        write_info(folder, patient, *frames)


def write_circulated(root):
    for patient in PHASES:
        for phase in (1, 2):
            image, classes = volumes(patient, phase)
            name = f"{case(patient, phase)}.nii.gz"
            save(as_image(image), root / ("images_test" if patient == "005" else "images") / name)
            if patient != "005":
                save(as_image(classes), root / "labels" / name)


@pytest.fixture
def challenge(tmp_path):
    write_challenge(tmp_path / "source")
    return tmp_path / "source"


@pytest.fixture
def convert(nnunet_folders, tmp_path):
    """Run the script on the small split; returns the dataset's folder and the exit status."""

    def both_phases(*patients):
        return [case(patient, phase) for patient in patients for phase in (1, 2)]

    lists = {"train": both_phases("001", "002", "003"), "val": both_phases("004"), "test": both_phases("005")}
    arguments = [
        part for key, names in lists.items() for part in (f"--{key}_list", write_list(tmp_path / f"{key}.list", *names))
    ]

    def run(*more, folders=(tmp_path / "source",), number=1):
        status = 0
        try:
            script.main(["-i", *map(str, folders), *arguments, "--num_labelled", str(number), "-np", "1", *more])
        except SystemExit as error:
            status = error.code
        return nnunet_folders.raw / "Dataset104_ACDC", status

    return run


@pytest.mark.parametrize("write", [write_challenge, write_circulated])
def test_both_layouts_give_the_same_dataset(convert, tmp_path, write, capsys):
    write(tmp_path / "source")
    dataset, status = convert()
    assert status == 0
    expected = ["dataset.json", "splits_final.json"]
    for patient, role in ROLES.items():
        for phase in (1, 2):
            image, classes = volumes(patient, phase)
            expected.append(f"images{role}/{case(patient, phase)}_0000.nii.gz")
            np.testing.assert_array_equal(voxels(dataset / expected[-1]), image)
            if role != "Ts":
                expected.append(f"labels{role}/{case(patient, phase)}.nii.gz")
                np.testing.assert_array_equal(voxels(dataset / expected[-1]), classes)
    assert files_in(dataset) == sorted(expected)
    content = json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))
    assert content["labels"] == {"background": 0, "right ventricle": 1, "myocardium": 2, "left ventricle": 3}
    assert content["numTraining"] == 4
    assert content["crln"]["labelled_cases"] == [case("001", 1), case("001", 2)]
    assert content["crln"]["num_labelled"] == 2
    assert "to predict but not to score (2): patient005_frame01, patient005_frame02" in capsys.readouterr().out


def test_folders_can_be_given_one_by_one(convert, tmp_path, monkeypatch):
    write_circulated(tmp_path / "source")
    monkeypatch.chdir(tmp_path / "source" / "labels")
    folders = [tmp_path / "source" / "images", tmp_path / "source" / "images_test", "."]
    assert convert(folders=folders)[1] == 0


def test_folds_keep_the_phases_of_a_patient_together(convert, challenge, nnunet_folders):
    dataset, status = convert(number=2)
    assert status == 0
    first, second, validation = ([case(patient, phase) for phase in (1, 2)] for patient in ("001", "002", "004"))
    folds = [
        {"train": first + second, "val": validation},
        {"train": second, "val": first},
        {"train": first, "val": second},
    ]
    for path in (dataset, nnunet_folders.preprocessed / "Dataset104_ACDC"):
        assert json.loads((path / "splits_final.json").read_text(encoding="utf-8")) == folds


def test_a_patient_in_two_lists_is_refused(convert, challenge, tmp_path, capsys):
    test = write_list(tmp_path / "mine.list", case("005", 1), "patient001_frame03")
    assert convert("--test_list", test)[1] == 2
    assert "1 patient(s) have cases in more than one list" in capsys.readouterr().err


def test_labelled_patients_are_counted(convert, challenge, capsys):
    assert convert(number=3)[1] == 2
    assert "expected 1 to 2" in (error := capsys.readouterr().err) and "3 training patients" in error


def test_identical_images_are_converted_and_reported(convert, challenge):
    for phase, frame in enumerate(PHASES["003"], start=1):
        image = as_image(volumes("002", phase)[0])
        save(image, challenge / f"training/patient003/patient003_frame{frame:02d}.nii.gz")
    dataset, status = convert()
    assert status == 0
    (warning,) = [text for text in verify_images(dataset, show_progress=False) if "more than once" in text]
    for phase in (1, 2):
        assert f"imagesUl/{case('002', phase)} = imagesUl/{case('003', phase)}" in warning


def no_info(folder):
    (folder / "Info.cfg").unlink()


def frame_of_neither_phase(folder):
    save(as_image(volumes("007", 1)[0]), folder / "patient003_frame20.nii.gz")


@pytest.mark.parametrize(
    ("change", "message"), [(no_info, ""), (frame_of_neither_phase, "Skipped, frame that Info.cfg does not name (1)")]
)
def test_two_frames_are_enough_and_others_are_skipped(convert, challenge, capsys, change, message):
    change(challenge / "training/patient003")
    dataset, status = convert()
    assert status == 0 and message in capsys.readouterr().out
    np.testing.assert_array_equal(voxels(dataset / "imagesUl/patient003_frame02_0000.nii.gz"), volumes("003", 2)[0])


def test_a_missing_phase_is_missing_under_its_own_name(convert, challenge, capsys):
    """The frame that is left is the end-systole, though the only one: Info.cfg says so."""
    folder = challenge / "training/patient002"
    (folder / "patient002_frame11.nii.gz").unlink()
    assert convert()[1] == 2
    assert "1 of 10 cases of the split were not found: patient002_frame01" in capsys.readouterr().err
    dataset, status = convert("--allow_partial")
    assert status == 0
    np.testing.assert_array_equal(voxels(dataset / "imagesUl/patient002_frame02_0000.nii.gz"), volumes("002", 2)[0])
    assert "Skipped, label without image (1)" in capsys.readouterr().out


def one_frame_without_info(folder):
    (folder / "Info.cfg").unlink()
    (folder / "patient002_frame04.nii.gz").unlink()


def damaged_info(folder):
    (folder / "Info.cfg").write_text("ED: 4\n")


def unknown_value(folder):
    save(as_image(volumes("002", 2)[1] + np.uint8(1)), folder / "patient002_frame04_gt.nii.gz")


def truncated_image(folder):
    truncate(folder / "patient002_frame04.nii.gz")


def the_4d_series_as_a_frame(folder):
    image = as_image(volumes("002", 2)[0])
    save(type(image)([6, 8, 10, 3], image.GetPixelID()), folder / "patient002_frame04.nii.gz")


def found_twice(folder):
    save(as_image(volumes("002", 2)[0]), folder / "patient002_frame04.nii")


def two_labels(folder):
    save(as_image(volumes("002", 2)[1]), folder / "patient002_frame04_gt.nii")


@pytest.mark.parametrize(
    ("damage", "phases", "message"),
    [
        (one_frame_without_info, (1, 2), r"has frame\(s\) 11 of patient002 and no Info.cfg"),
        (damaged_info, (1, 2), "Info.cfg does not name two frames"),
        (unknown_value, (2,), r"label value\(s\) \[4\], expected only \[0, 1, 2, 3\]"),
        (truncated_image, (2,), "patient002_frame04.nii.gz: it is truncated"),
        (the_4d_series_as_a_frame, (2,), "is not a 3D image"),
        (found_twice, (2,), "found 2 times"),
        (two_labels, (2,), "has 2 labels"),
    ],
)
def test_one_broken_patient_leaves_the_others_alone(convert, challenge, capsys, damage, phases, message):
    damage(challenge / "training/patient002")
    dataset, status = convert()
    assert status == 1
    failures = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Failed")]
    assert [line.split(":")[0] for line in failures] == [f"Failed, {case('002', phase)}" for phase in phases]
    assert all(re.search(message, line) for line in failures)
    names = files_in(dataset)
    assert "dataset.json.incomplete" in names and "imagesUl/patient003_frame02_0000.nii.gz" in names
    assert not {f"imagesUl/{case('002', phase)}_0000.nii.gz" for phase in phases} & set(names)


def test_info_that_cannot_be_read(convert, challenge, monkeypatch, capsys):
    read_text = Path.read_text

    def refuse(path, **options):
        if path == challenge / "training/patient002/Info.cfg":
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, **options)

    monkeypatch.setattr(Path, "read_text", refuse)  # file modes do not bind the root user of a container
    assert convert()[1] == 1
    assert re.search(r"Failed, patient002_frame01: Cannot read .*Info.cfg: Permission", capsys.readouterr().out)


def test_a_failed_labelled_case_is_in_no_fold(convert, challenge):
    truncate(challenge / "training/patient002/patient002_frame04.nii.gz")
    dataset, status = convert("--allow_partial", number=2)
    assert status == 1
    named = {
        name
        for fold in json.loads((dataset / "splits_final.json").read_text(encoding="utf-8"))
        for part in fold.values()
        for name in part
    }
    assert named == {path.name.removesuffix(".nii.gz") for path in (dataset / "labelsTr").iterdir()}
    assert case("002", 1) in named


def test_without_any_validation_case_the_folds_are_those_of_the_labelled_patients(convert, challenge):
    for path in (challenge / "training/patient004").glob("*_gt.nii.gz"):
        truncate(path)
    dataset, status = convert("--allow_partial", number=2)
    assert status == 1
    folds = json.loads((dataset / "splits_final.json").read_text(encoding="utf-8"))
    assert [fold["val"] for fold in folds] == [[case(patient, 1), case(patient, 2)] for patient in ("001", "002")]


def test_one_labelled_patient_alone_has_no_folds(convert, challenge, nnunet_folders):
    for path in (challenge / "training/patient004").glob("*_gt.nii.gz"):
        truncate(path)
    dataset, status = convert("--allow_partial")
    assert status == 1 and (dataset / "dataset.json").is_file()
    assert not list(nnunet_folders.raw.parent.rglob("splits_final.json"))


@pytest.mark.skipif(not REAL.is_dir(), reason="real data not present")
def test_real_data(nnunet_folders, tmp_path, capsys):
    split = published_split("acdc")
    twins = [case(patient, phase) for patient in ("074", "076") for phase in (1, 2)]
    parts = {"train": [*split.train[:2], *twins], "val": split.validation[:2], "test": split.test[:2]}
    lists = [
        part for key, names in parts.items() for part in (f"--{key}_list", write_list(tmp_path / f"{key}.list", *names))
    ]
    script.main(["-i", str(REAL), *lists, "--num_labelled", "1", "-np", "1"])
    dataset = nnunet_folders.raw / "Dataset104_ACDC"
    for name in split.train[:2]:
        image, label = f"imagesTr/{name}_0000.nii.gz", f"labelsTr/{name}.nii.gz"
        np.testing.assert_array_equal(voxels(dataset / image), voxels(REAL / "images" / f"{name}.nii.gz"))
        np.testing.assert_array_equal(voxels(dataset / label), voxels(REAL / "labels" / f"{name}.nii.gz"))
    assert "Skipped, not in the split (190)" in capsys.readouterr().out
    assert any("patient074_frame01 = imagesUl/patient076_frame01" in text for text in verify_images(dataset))
