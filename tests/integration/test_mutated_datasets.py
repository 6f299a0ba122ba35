"""A valid dataset, damaged in one way each: the message names the file and what to do, and no file changes."""

import os

import numpy as np
import pytest
from damage import (
    FLIPPED,
    LABEL,
    LABELLED,
    NAME,
    PLANS,
    UNLABELLED,
    both_channels_to,
    configuration,
    copy,
    cut,
    cut_inside,
    dangling_link,
    entries,
    flip_bytes,
    folder_instead,
    header_of_zeros,
    network,
    overwrite,
    put,
    re_search,
    refused,
    remove,
    rename,
    same,
    says_how_to_fix,
    set_up,
    training_refused,
    unreadable,
    voxels,
)
from synthetic import write_dataset

# ------------------------------------------------------------------ the damages: file, change, what the message says

IMAGES = {
    "cut in half": (UNLABELLED, cut(), "unl_000_0000.nii.gz cannot be read"),
    "last byte missing": (UNLABELLED, cut(0.999), "unl_000_0000.nii.gz cannot be read"),
    "voxels missing": (UNLABELLED, cut_inside, "unl_000_0000.nii.gz cannot be read"),
    "damaged bytes": (UNLABELLED, flip_bytes, "unl_000_0000.nii.gz cannot be read"),
    "empty file": (UNLABELLED, overwrite(b""), "unl_000_0000.nii.gz cannot be read"),
    "text": (UNLABELLED, overwrite(b"no image"), "unl_000_0000.nii.gz cannot be read"),
    "header of zeros": (UNLABELLED, header_of_zeros, "unl_000_0000.nii.gz cannot be read"),
    "second channel cut": ("imagesUl/unl_001_0001.nii.gz", cut(), "unl_001_0001.nii.gz cannot be read"),
    "unreadable": (UNLABELLED, unreadable, "unl_000_0000.nii.gz cannot be read"),
    "other format": (UNLABELLED, rename("unl_000_0000.nrrd"), "unl_000_0000.nrrd"),
    "uncompressed": (UNLABELLED, rename("unl_000_0000.nii"), "unl_000_0000.nii"),
    "missing channel": (UNLABELLED, remove, r"unl_000_0000.nii.gz \(missing\)"),
    "surplus channel": (UNLABELLED, copy("imagesUl/unl_000_0002.nii.gz"), r"unl_000_0002.nii.gz \(too many\)"),
    "no channel number": (UNLABELLED, copy("imagesUl/unl_009.nii.gz"), "unl_009.nii.gz"),
    "folder instead of a file": (UNLABELLED, folder_instead, "unl_000_0000.nii.gz"),
    "dangling link": (UNLABELLED, dangling_link, "unl_000_0000.nii.gz"),
    "4D": (UNLABELLED, voxels(lambda a: np.stack([a, a])), "imagesUl/unl_000"),
    "colour": (UNLABELLED, voxels(lambda a: np.stack([a] * 3, -1), vector=True), "imagesUl/unl_000"),
    "complex numbers": (UNLABELLED, voxels(lambda a: a.astype(np.complex64)), "unl_000_0000.nii.gz"),
    "a slice": (UNLABELLED, voxels(lambda a: a[0]), "imagesUl/unl_000"),
    "channels of two shapes": (UNLABELLED, voxels(lambda a: a[2:]), "imagesUl/unl_000"),
    "channels of two spacings": (UNLABELLED, voxels(same, spacing=2), "imagesUl/unl_000"),
    "channels of two directions": (UNLABELLED, voxels(same, direction=FLIPPED), "imagesUl/unl_000"),
    "infinite voxel": (UNLABELLED, voxels(put(np.inf)), "imagesUl/unl_000_0000.nii.gz"),
    "infinite voxel, labelled": (LABELLED, voxels(put(-np.inf)), "imagesTr/lab_000_0000.nii.gz"),
    "labelled image cut": (LABELLED, cut(), "lab_000_0000.nii.gz"),
    "labelled channel missing": ("imagesTr/lab_000_0001.nii.gz", remove, "lab_000"),
    "labelled case among the unlabelled": (LABELLED, both_channels_to("imagesUl/unl_000"), "imagesTr/lab_000 = "),
    "test case among the unlabelled": (
        "imagesTs/tst_000_0000.nii.gz",
        both_channels_to("imagesUl/unl_000"),
        "imagesUl/unl_000 = imagesTs/tst_000",
    ),
    "test image cut": ("imagesTs/tst_000_0000.nii.gz", cut(), "tst_000_0000.nii.gz cannot be read"),
    "label missing": (LABEL, remove, "lab_000"),
    "label cut": (LABEL, cut(), "lab_000.nii.gz"),
    "label empty": (LABEL, overwrite(b""), "lab_000.nii.gz"),
    "label voxels missing": (LABEL, cut_inside, "lab_000.nii.gz"),
    "label of unknown value": (LABEL, voxels(put(7)), "lab_000.nii.gz has the value.* 7"),
    "label of half a value": (LABEL, voxels(put(0.5)), "lab_000.nii.gz has the value.* 0.5"),
    "negative label": (LABEL, voxels(put(-1)), "lab_000.nii.gz has the value.* -1"),
    "label of another shape": (LABEL, voxels(lambda a: a[1:]), "lab_000.nii.gz has .* voxels"),
    "label of another spacing": (LABEL, voxels(same, spacing=10), "lab_000.nii.gz has the spacing"),
    "NaN in a label": (LABEL, voxels(put(np.nan)), "lab_000.nii.gz has NaN"),
    "NaN that ITK reads as 0": (UNLABELLED, voxels(put(np.nan)), "imagesUl/unl_000_0000.nii.gz"),
    "label flipped": (LABEL, voxels(same, direction=FLIPPED), "lab_000.nii.gz has another direction"),
    "label for an unlabelled case": (LABEL, rename("unl_000.nii.gz"), "lab_000"),
}
DATASET_JSON = {
    "not there": (remove, r"Cannot read .*dataset\.json"),
    "empty": (overwrite(b""), "not valid JSON"),
    "cut": (cut(), "not valid JSON"),
    "a list": (overwrite(b"[]"), "holds a list"),
    "not text": (overwrite(b"\xff\xfe\x00"), "not valid JSON"),
    "no labels": (entries(labels=None), "has no labels"),
    "no ending": (entries(file_ending=None), "has no file_ending"),
    "labels as a list": (entries(labels=["background"]), "'labels' is"),
    "labels the other way round": (entries(labels={"0": "background"}), "'labels' is"),
    "a gap in the labels": (entries(labels={"background": 0, "a": 2}), r"values \[0, 2\]"),
    "ignore label in between": (entries(labels={"background": 0, "ignore": 1, "a": 2}), "ignore label last"),
    "number as text": (entries(numTraining="2"), "'numTraining' is"),
    "wrong number": (entries(numTraining=9), "numTraining 9"),
    "one channel less": (entries(channel_names={"0": "MRI"}), "too many"),
    "channels as a list": (entries(channel_names=["MRI", "MRI"]), "'channel_names' is"),
    "ending without a dot": (entries(file_ending="nii.gz"), "'file_ending' is"),
    "unknown ending": (entries(file_ending=".xyz"), "xyz"),
    "a case outside of the folder": (
        entries(dataset={"../../x": {"images": ["imagesTr/lab_000_0000.nii.gz"], "label": LABEL}}, numTraining=1),
        r"\.\./\.\./x",
    ),
}
PLANS_FILE = {
    "cut": (cut(), "not valid JSON"),
    "a list": (overwrite(b"[]"), "holds a list"),
    "no configurations": (entries(configurations=None), "has no configurations"),
    "no reader": (entries(image_reader_writer=None), "has no image_reader_writer"),
    "configurations as a list": (entries(configurations=[]), "'configurations' is"),
    "no patch size": (configuration(patch_size=None), "has no patch_size"),
    "patch size as text": (configuration(patch_size="16"), "patch_size of '3d_fullres' is '16'"),
    "batch of nothing": (configuration(batch_size=0), "batch_size of '3d_fullres' is 0"),
    "unknown setting": (configuration(crln={"cps_wieght": 1}), "Did you mean cps_weight"),
    "setting of the wrong type": (configuration(crln={"ema_decay": "0.9"}), "ema_decay is '0.9'"),
    "settings as a list": (configuration(crln=[]), "expected a dictionary"),
}
TRAINING = {
    "unknown network": (network(network_class_name="no.such.Network"), "no.such.Network"),
    "network without an argument": (network(arch_kwargs={}), "cannot be built"),
    "no patch size": (configuration(patch_size=None), "has no patch_size"),
    "unknown setting": (configuration(crln={"cps_wieght": 1}), "Did you mean cps_weight"),
    "setting out of range": (configuration(crln={"confidence_threshold": 2}), "confidence_threshold is 2"),
}
SPLITS = {
    "a case outside of the folder": b'[{"train": ["lab_000", "../../elsewhere"], "val": ["lab_001"]}]',
    "an absolute name": b'[{"train": ["/etc/passwd"], "val": ["lab_001"]}]',
    "an unknown case": b'[{"train": ["lab_000"], "val": ["lab_077"]}]',
    "not JSON": b"[{",
    "without val": b'[{"train": ["lab_000"]}]',
    "an object": b'{"train": []}',
}


# ------------------------------------------------------------------ the runs


@pytest.mark.parametrize("name", IMAGES)
def test_images_and_labels(dataset, monkeypatch, capsys, name):
    file, damage, text = IMAGES[name]
    if damage is unreadable and os.geteuid() == 0:
        pytest.skip("root reads everything")
    path = dataset / "raw" / NAME / file
    damage(path)
    message = refused(monkeypatch, capsys, dataset, "--verify_dataset_integrity")
    assert re_search(text, message)
    assert says_how_to_fix(message)


@pytest.mark.parametrize("name", DATASET_JSON)
def test_dataset_json(dataset, monkeypatch, capsys, name):
    damage, text = DATASET_JSON[name]
    damage(dataset / "raw" / NAME / "dataset.json")
    message = refused(monkeypatch, capsys, dataset, "--verify_dataset_integrity")
    assert re_search(text, message)
    assert "dataset.json" in message or "imagesTr" in message or "imagesUl" in message
    assert says_how_to_fix(message, "needs one")


@pytest.mark.parametrize("name", PLANS_FILE)
def test_plans_when_preprocessing(dataset, monkeypatch, capsys, name):
    damage, text = PLANS_FILE[name]
    damage(dataset / "preprocessed" / NAME / PLANS)
    message = refused(monkeypatch, capsys, dataset, "--unlabelled_only")
    assert re_search(text, message) and PLANS in message
    assert says_how_to_fix(message, "Did you mean", "expected", "Make the plans again")


@pytest.mark.parametrize("name", TRAINING)
def test_plans_when_training(dataset, name):
    damage, text = TRAINING[name]
    damage(dataset / "preprocessed" / NAME / PLANS)
    message = training_refused(dataset, "all")
    assert re_search(text, message) and "plans" in message.lower()


@pytest.mark.parametrize("name", SPLITS)
def test_splits_when_training(dataset, name):
    (dataset / "preprocessed" / NAME / "splits_final.json").write_bytes(SPLITS[name])
    message = training_refused(dataset, 0)
    assert "splits_final.json" in message
    assert says_how_to_fix(message)


@pytest.mark.parametrize(("value", "text"), [(np.nan, "NaN"), (np.inf, "infinite")])
@pytest.mark.parametrize("folder", ["imagesTr", "imagesUl"])
def test_not_a_number(nnunet_folders, monkeypatch, capsys, folder, value, text):
    """In a format whose reader keeps NaN; ITK reads NaN of a NIfTI file as 0."""
    root = nnunet_folders.raw.parent
    raw = write_dataset(root / "raw", labelled=2, unlabelled=2, test=0, shape=(12, 12, 12), file_ending=".nrrd")
    path = sorted((raw / folder).iterdir())[0]
    voxels(put(value))(path)
    set_up(monkeypatch, root)
    message = refused(monkeypatch, capsys, root, "--verify_dataset_integrity")
    assert f"{folder}/{path.name}" in message and text in message and "Replace these voxels" in message


@pytest.mark.parametrize("factor", [10, 0.001])
def test_unlabelled_spacing_in_another_unit(nnunet_folders, monkeypatch, capsys, factor):
    root = nnunet_folders.raw.parent
    raw = write_dataset(root / "raw", labelled=2, unlabelled=2, test=0, shape=(12, 12, 12))
    voxels(same, spacing=factor)(raw / "imagesUl" / "unl_001_0000.nii.gz")
    set_up(monkeypatch, root)
    message = refused(monkeypatch, capsys, root, "--verify_dataset_integrity")
    assert "imagesUl/unl_001" in message and "correct the headers" in message
