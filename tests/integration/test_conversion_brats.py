"""BraTS 2019: modalities, targets, the fixed validation fold."""

import json

import numpy as np
import pytest
from conversion_sources import as_image, files_in, save, scan_and_label, voxels, write_list
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunetv2_crln.dataset_conversion import Dataset103_BraTS2019 as script


def write_case(folder, case, seed=0, modalities=("flair", "t1", "t1ce", "t2"), grade="HGG"):
    image, classes = scan_and_label(seed)
    classes[1, 1, :3] = (1, 2, 4)
    for index, modality in enumerate(modalities):
        save(as_image(image + np.int16(index)), folder / grade / case / f"{case}_{modality}.nii.gz")
    save(as_image(classes), folder / grade / case / f"{case}_seg.nii.gz")
    return classes


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    for index, case in enumerate(("a", "b", "c", "v", "t")):
        write_case(folder, case, index, grade="HGG" if index % 2 else "LGG")
    return folder


@pytest.fixture
def convert(nnunet_folders, tmp_path, source):
    """Run the script on the small split; returns the dataset's folder and the exit status."""
    lists = {"train": ("a", "b", "c"), "val": ("v",), "test": ("t",)}
    arguments = [
        part for key, names in lists.items() for part in (f"--{key}_list", write_list(tmp_path / f"{key}.list", *names))
    ]

    def run(*more):
        status = 0
        try:
            script.main(["-i", str(source), *arguments, "--num_labelled", "1", "-np", "1", *more])
        except SystemExit as error:
            status = error.code
        return nnunet_folders.raw / "Dataset103_BraTS2019", status

    return run


def test_flair_and_whole_tumour_by_default(convert, nnunet_folders, source):
    dataset, status = convert()
    assert status == 0
    assert files_in(dataset) == [
        "dataset.json",
        "imagesTr/a_0000.nii.gz",
        "imagesTr/v_0000.nii.gz",
        "imagesTs/t_0000.nii.gz",
        "imagesUl/b_0000.nii.gz",
        "imagesUl/c_0000.nii.gz",
        "labelsTr/a.nii.gz",
        "labelsTr/v.nii.gz",
        "labelsTs/t.nii.gz",
        "labelsUl/b.nii.gz",
        "labelsUl/c.nii.gz",
        "splits_final.json",
    ]
    content = json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))
    assert content["numTraining"] == 2
    assert content["channel_names"] == {"0": "FLAIR"}
    assert content["labels"] == {"background": 0, "whole tumour": 1}
    assert content["crln"]["labelled_cases"] == ["a"]
    read_by_nnunet = nnunet_folders.preprocessed / "Dataset103_BraTS2019" / "splits_final.json"
    for path in (dataset / "splits_final.json", read_by_nnunet):
        assert json.loads(path.read_text(encoding="utf-8")) == [{"train": ["a"], "val": ["v"]}]
    np.testing.assert_array_equal(voxels(dataset / "imagesTr/a_0000.nii.gz"), scan_and_label(0)[0])
    original = voxels(source / "LGG/a/a_seg.nii.gz")
    assert set(np.unique(original)) == {0, 1, 2, 4}
    np.testing.assert_array_equal(voxels(dataset / "labelsTr/a.nii.gz"), original > 0)


def test_all_modalities_and_classes(convert, source):
    dataset, status = convert("--modalities", "t1ce", "flair", "--labels", "all")
    assert status == 0
    content = json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))
    assert content["channel_names"] == {"0": "T1CE", "1": "FLAIR"}
    assert list(content["labels"].values()) == [0, 1, 2, 3]
    image = scan_and_label(0)[0]
    np.testing.assert_array_equal(voxels(dataset / "imagesTr/a_0000.nii.gz"), image + 2)
    np.testing.assert_array_equal(voxels(dataset / "imagesTr/a_0001.nii.gz"), image)
    original = voxels(source / "LGG/a/a_seg.nii.gz")
    np.testing.assert_array_equal(voxels(dataset / "labelsTr/a.nii.gz"), np.where(original == 4, 3, original))


def test_a_foreign_split_is_not_overwritten(convert, nnunet_folders, capsys):
    path = nnunet_folders.preprocessed / "Dataset103_BraTS2019" / "splits_final.json"
    path.parent.mkdir()
    path.write_text('[{"train": ["x"], "val": ["y"]}]')
    assert convert()[1] == 2
    assert "exists and describes another split" in capsys.readouterr().err
    assert "x" in path.read_text(encoding="utf-8")


def test_missing_modality_and_shifted_channel(convert, source, capsys):
    (source / "HGG/b/b_t1.nii.gz").unlink()
    image, _ = scan_and_label(2)
    save(as_image(image, origin=(0, 0, 0)), source / "LGG/c/c_t1.nii.gz")
    _, status = convert("--modalities", "flair", "t1")
    assert status == 1
    output = capsys.readouterr().out
    assert "Failed, b: " in output and "has no t1 image" in output
    assert "Failed, c: " in output and "c_t1.nii.gz has a different voxel grid than" in output


def test_wrong_label_value(convert, source, capsys):
    _, classes = scan_and_label(1)
    save(as_image(classes * 3), source / "HGG/b/b_seg.nii.gz")
    assert convert()[1] == 1
    assert "label value(s) [3], expected only [0, 1, 2, 4]" in capsys.readouterr().out


def test_regions_overlap_as_the_challenge_scores_them(convert, source):
    dataset, status = convert("--labels", "regions")
    assert status == 0
    content = json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))
    manager = LabelManager(content["labels"], content["regions_class_order"])
    assert manager.foreground_regions == [(1, 2, 3), (1, 3), (3,)]
    # What nnU-Net writes for a voxel of each class is that class again.
    for value in (0, 1, 2, 3):
        inside = np.array([[float(value in region)] for region in manager.foreground_regions])
        assert manager.convert_probabilities_to_segmentation(inside).tolist() == [value]
    original = voxels(source / "LGG/a/a_seg.nii.gz")
    np.testing.assert_array_equal(voxels(dataset / "labelsTr/a.nii.gz"), np.where(original == 4, 3, original))
