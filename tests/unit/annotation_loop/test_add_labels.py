"""Labels of unlabelled cases: what is refused before anything moves, and moves to another disk."""

import multiprocessing
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from synthetic import write_image

from nnunetv2_crln.annotation_loop import add_labels as add_labels_module
from nnunetv2_crln.annotation_loop.add_labels import add_labels
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import RAW_LOCK
from nnunetv2_crln.plan_and_preprocess.added_cases import PreprocessedData
from nnunetv2_crln.utilities.json_files import read_json, write_json

SHAPE = (8, 8, 8)


@pytest.fixture
def dataset(make_dataset):
    return make_dataset(dataset_id=5, unlabelled=2, shape=SHAPE)


@pytest.fixture
def labels(dataset, tmp_path):
    """True labels of both unlabelled cases."""
    return shutil.copytree(dataset / "labelsUl", tmp_path / "annotated")


def add(labels, **options):
    return add_labels(5, labels, processes=1, show_progress=False, **options)


def contents(folder):
    files = (path for path in folder.rglob("*.*") if path.is_file() and path.name != RAW_LOCK)
    return {path.relative_to(folder): path.read_bytes() for path in files}


def test_another_label_in_labelstr_is_not_overwritten(dataset, labels):
    write_image(np.zeros(SHAPE, np.uint8), dataset / "labelsTr" / "unl_001.nii.gz")
    before = contents(dataset)
    with pytest.raises(UserError, match=r"unl_001 \(labelled already, with another label\)") as error:
        add(labels)
    assert str(dataset / "labelsTr") in str(error.value)
    assert {path: content for path, content in contents(dataset).items() if path in before} == before


def test_the_label_of_an_interrupted_run_is_no_obstacle(dataset, labels):
    shutil.copy(labels / "unl_001.nii.gz", dataset / "labelsTr")
    assert add(labels).cases == ["unl_000", "unl_001"]
    assert not list((dataset / "imagesUl").iterdir())


def test_images_come_from_another_disk(dataset, labels, every_folder_is_a_disk):
    images = {path.name: path.read_bytes() for path in (dataset / "imagesUl").iterdir()}
    add(labels)
    assert not list((dataset / "imagesUl").iterdir())
    assert {name: (dataset / "imagesTr" / name).read_bytes() for name in images} == images


def test_two_labels_of_one_case_are_refused(dataset, labels):
    shutil.copy(labels / "unl_001.nii.gz", labels / "unl_001.mha")
    with pytest.raises(UserError, match=r"two labels of unl_001: unl_001\.mha and unl_001\.nii\.gz.*remove one"):
        add(labels)


def test_a_label_with_an_ending_in_upper_case_is_not_left_out(dataset, labels):
    (labels / "unl_001.nii.gz").rename(labels / "unl_001.NII.GZ")
    with pytest.raises(UserError, match=r"unl_001\.NII\.GZ does not end in \.nii\.gz.*rename it"):
        add(labels)


def test_nothing_moves_while_linked_images_cannot_be_reached(dataset, labels, tmp_path):
    """The labelled cases would be counted without the one that cannot be reached."""
    link = dataset / "imagesTr" / "lab_000_0000.nii.gz"
    link.unlink()
    link.symlink_to(tmp_path / "share" / "scan.nii.gz")
    before = contents(dataset)
    with pytest.raises(UserError, match=r"1 broken link\(s\): imagesTr/lab_000_0000.*bring them back"):
        add(labels)
    assert {path: content for path, content in contents(dataset).items() if path in before} == before


def with_annotated(dataset, **annotated):
    content = read_json(dataset / "dataset.json")
    write_json({**content, "crln": {"annotated_labels": annotated}}, dataset / "dataset.json")


def test_classes_that_nobody_drew_are_told_to_trainings(dataset, labels, nnunet_folders):
    for path in labels.iterdir():
        write_image((sitk.GetArrayFromImage(sitk.ReadImage(str(path))) == 1).astype(np.uint8), path)
    copy = nnunet_folders.preprocessed / dataset.name / "dataset.json"
    copy.parent.mkdir()
    shutil.copy(dataset / "dataset.json", copy)
    with_annotated(dataset, **{"unl_*": ["class_1"]})
    add(labels)
    assert read_json(copy) == read_json(dataset / "dataset.json")
    assert (
        read_json(copy)["crln"] == {"annotated_labels": {"unl_*": ["class_1"]}} and read_json(copy)["numTraining"] == 5
    )


@pytest.mark.parametrize(
    ("annotated", "text"),
    [
        ({"unl_001": ["class_1"]}, r"unl_001\.nii\.gz has voxels of class_2, but .* lists class_1 alone"),
        ({"unl_002": ["class_1"]}, "names 'unl_002', but no labelled case has this name"),
    ],
)
def test_a_wrong_entry_on_annotated_classes_changes_nothing(dataset, labels, annotated, text):
    with_annotated(dataset, **annotated)
    before = contents(dataset)
    with pytest.raises(UserError, match=text):
        add(labels)
    assert {path: content for path, content in contents(dataset).items() if path in before} == before


def test_a_case_without_all_channels_stays_unlabelled(make_dataset, tmp_path):
    folder = make_dataset(dataset_id=5, unlabelled=2, shape=SHAPE, channels=2)
    (folder / "imagesUl" / "unl_001_0001.nii.gz").unlink()
    labels = shutil.copytree(folder / "labelsUl", tmp_path / "annotated")
    with pytest.raises(UserError, match=r"unl_001_0001\.nii\.gz \(missing\).*Add the missing files"):
        add(labels)
    assert not list((folder / "imagesTr").glob("unl*"))
    assert add(labels, cases=["unl_000"]).cases == ["unl_000"]


def test_an_incomplete_dataset_json_is_named(dataset, labels):
    content = read_json(dataset / "dataset.json")
    write_json({key: value for key, value in content.items() if key != "file_ending"}, dataset / "dataset.json")
    with pytest.raises(UserError, match="has no file_ending"):
        add(labels)


def test_cases_of_an_older_nnunet_are_left_as_they_are(dataset, labels, nnunet_folders):
    """Data in two formats would be readable by no trainer."""
    preprocessed = nnunet_folders.preprocessed / dataset.name
    data = preprocessed / "nnUNetPlans_2d"
    data.mkdir(parents=True)
    for name in ("lab_000.npz", "lab_000.pkl"):
        (data / name).write_bytes(b"")
    entry = {"data_identifier": data.name, "preprocessor_name": "P", "batch_size": 2, "patch_size": [8, 8]}
    write_json(
        {
            "dataset_name": dataset.name,
            "plans_name": "nnUNetPlans",
            "image_reader_writer": "SimpleITKIO",
            "transpose_forward": [0, 1, 2],
            "configurations": {"2d": {**entry, "spacing": [1, 1], "architecture": {}}},
        },
        preprocessed / "nnUNetPlans.json",
    )
    before = contents(dataset)
    with pytest.raises(UserError, match=r"older version of nnU-Net.*nnUNetv2_preprocess -d 005"):
        add(labels)
    assert {path: content for path, content in contents(dataset).items() if path in before} == before


def test_a_case_that_differs_from_a_labelled_one_in_upper_case_alone_is_refused(dataset, labels):
    """On macOS and Windows its images would replace those of the labelled case."""
    (dataset / "imagesUl" / "unl_001_0000.nii.gz").rename(dataset / "imagesUl" / "LAB_000_0000.nii.gz")
    (labels / "unl_001.nii.gz").rename(labels / "LAB_000.nii.gz")
    before = contents(dataset)
    with pytest.raises(
        UserError, match=r"LAB_000 \(lab_000 is labelled, which is the same name but for upper and lower"
    ):
        add(labels)
    assert {path: content for path, content in contents(dataset).items() if path in before} == before


def test_a_case_that_a_fold_validates_on_does_not_join_its_training_part(dataset, labels):
    """As in a split that was written before the command."""
    write_json([{"train": ["lab_000"], "val": ["unl_001"]}, {"train": [], "val": []}], dataset / "splits_final.json")
    for _ in range(2):
        add(labels)
        assert read_json(dataset / "splits_final.json") == [
            {"train": ["lab_000", "unl_000"], "val": ["unl_001"]},
            {"train": ["unl_000", "unl_001"], "val": []},
        ]


def test_a_class_that_was_not_planned_is_refused_before_anything_moves(dataset, labels, nnunet_folders):
    """Trainings know the classes from the copy of dataset.json that planning has made."""
    preprocessed = nnunet_folders.preprocessed / dataset.name
    preprocessed.mkdir()
    planned = read_json(dataset / "dataset.json")
    del planned["labels"]["class_2"]
    write_json(planned, preprocessed / "dataset.json")
    before = contents(dataset)
    command = "nnUNetv2_crln_plan_and_preprocess -d 5"
    with pytest.raises(UserError, match=rf"2 label.* unl_000 \(2\), unl_001 \(2\).*{command}.*Nothing was changed"):
        add(labels)
    assert contents(dataset) == before
    assert add(labels, preprocess=False).cases == ["unl_000", "unl_001"]


@pytest.mark.parametrize("place", ["raw", "preprocessed"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("splits_final.json", "[{"),
        ("splits_final.json", '{"train": []}'),
        ("splits_final.json", '[{"train": ["lab_000"]}]'),
        ("splits_final.json", '[{"train": "lab_000", "val": []}]'),
        ("dataset.json", "{"),
        ("dataset.json", "[]"),
    ],
)
def test_damaged_files_are_found_before_anything_moves(dataset, labels, nnunet_folders, place, name, text):
    folder = dataset if place == "raw" else nnunet_folders.preprocessed / dataset.name
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    before = contents(dataset)
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        add(labels, preprocess=False)
    assert contents(dataset) == before


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_damaged_record_of_the_unlabelled_cases_is_found_before_anything_moves(
    dataset, labels, nnunet_folders, monkeypatch, text
):
    preprocessed = nnunet_folders.preprocessed / dataset.name
    preprocessed.mkdir()
    (preprocessed / "data_unlabelled_info.json").write_text(text)
    data = PreprocessedData(PlansManager.__new__(PlansManager), "2d", preprocessed / "data")
    monkeypatch.setattr(add_labels_module, "preprocessed_data", lambda _: [data])
    monkeypatch.setattr(add_labels_module, "unlabelled_command", lambda *_: "COMMAND")
    before = contents(dataset)
    with pytest.raises(UserError, match=r"data_unlabelled_info\.json.*again: COMMAND\. Nothing was changed"):
        add(labels, preprocess=False)
    assert contents(dataset) == before


def copy_half_and_wait(labels, connection):
    """Add labels until the first one is half copied, and wait to be killed."""

    def copy(source, target):
        target.write_bytes(b"half")
        connection.send(str(target))
        time.sleep(60)

    add_labels_module.shutil.copyfile = copy
    add(labels)


@pytest.mark.skipif(sys.platform == "win32", reason="uses fork")
def test_what_a_killed_run_left_is_removed(dataset, labels):
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=copy_half_and_wait, args=(labels, theirs))
    process.start()
    half = ours.recv()
    process.kill()
    process.join()
    assert Path(half).is_file() and Path(half).name.startswith(".")
    assert add(labels).cases == ["unl_000", "unl_001"]
    assert not Path(half).exists()
