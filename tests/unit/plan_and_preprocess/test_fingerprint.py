"""Unlabelled images in nnU-Net's fingerprint."""

import json
import shutil

import numpy as np
import pytest
from synthetic import write_image

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.plan_and_preprocess import fingerprint as module
from nnunetv2_crln.plan_and_preprocess.fingerprint import (
    add_unlabelled_to_fingerprint,
    labelled_cases_are_known,
    labelled_fingerprint_is_stale,
    labelled_record,
    note_labelled_cases,
)
from nnunetv2_crln.utilities.files import remove_leftovers


@pytest.fixture
def dataset(make_dataset, nnunet_folders):
    """Raw and preprocessed folder of a dataset with a fingerprint as nnU-Net writes it."""
    raw = make_dataset()
    preprocessed = nnunet_folders.preprocessed / raw.name
    write_stock_fingerprint(preprocessed)
    return raw, preprocessed


def write_stock_fingerprint(preprocessed, labelled=3):
    preprocessed.mkdir(exist_ok=True)
    content = {
        "spacings": [[1.0, 1.0, 1.0]] * labelled,
        "shapes_after_crop": [[24, 24, 24]] * labelled,
        "foreground_intensity_properties_per_channel": {"0": {"mean": 5.0}},
        "median_relative_size_after_cropping": 1.0,
    }
    (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(content))


def read(preprocessed):
    return json.loads((preprocessed / "dataset_fingerprint.json").read_text(encoding="utf-8"))


def test_spacings_and_cropped_shapes_are_appended(dataset):
    raw, preprocessed = dataset
    image = np.zeros((30, 20, 10), np.float32)
    image[5:9, 2:12, 3:6] = 7
    write_image(image, raw / "imagesUl" / "unl_001_0000.nii.gz", (3, 2, 1))
    result = add_unlabelled_to_fingerprint(raw, preprocessed, show_progress=False)
    assert result == read(preprocessed)
    assert result["shapes_after_crop"] == [[24, 24, 24]] * 4 + [[4, 10, 3]] + [[24, 24, 24]] * 2
    assert result["spacings"][4] == [3.0, 2.0, 1.0]
    assert len(result["spacings"]) == 7
    # Statistics of intensity and cropping stay those of the labelled cases.
    assert result["foreground_intensity_properties_per_channel"] == {"0": {"mean": 5.0}}
    assert result["median_relative_size_after_cropping"] == 1.0


def test_second_run_adds_nothing_and_reads_nothing(dataset, monkeypatch):
    raw, preprocessed = dataset
    first = add_unlabelled_to_fingerprint(raw, preprocessed, show_progress=False)
    monkeypatch.setattr(module, "measure_case", lambda *_: pytest.fail("read again"))
    assert add_unlabelled_to_fingerprint(raw, preprocessed, show_progress=False) == first


def test_new_changed_and_removed_cases(dataset):
    raw, preprocessed = dataset
    add_unlabelled_to_fingerprint(raw, preprocessed, show_progress=False)
    write_image(np.ones((8, 8, 8), np.float32), raw / "imagesUl" / "unl_001_0000.nii.gz")
    write_image(np.ones((6, 6, 6), np.float32), raw / "imagesUl" / "zzz_0000.nii.gz")
    (raw / "imagesUl" / "unl_000_0000.nii.gz").unlink()
    result = add_unlabelled_to_fingerprint(raw, preprocessed, show_progress=False)
    assert list(result["crln"]["unlabelled"]) == ["unl_001", "unl_002", "unl_003", "zzz"]
    assert result["shapes_after_crop"][3:] == [[8, 8, 8], [24, 24, 24], [24, 24, 24], [6, 6, 6]]


def test_new_stock_fingerprint_starts_over(dataset):
    raw, preprocessed = dataset
    add_unlabelled_to_fingerprint(raw, preprocessed, show_progress=False)
    write_stock_fingerprint(preprocessed)
    assert len(add_unlabelled_to_fingerprint(raw, preprocessed, show_progress=False)["spacings"]) == 7


def test_what_was_measured_survives_an_interruption(dataset, monkeypatch):
    raw, preprocessed = dataset
    measure = module.measure_case

    def interrupted(files, reader_class):
        if "unl_002" in files[0]:
            raise KeyboardInterrupt
        return measure(files, reader_class)

    monkeypatch.setattr(module, "measure_case", interrupted)
    with pytest.raises(KeyboardInterrupt):
        add_unlabelled_to_fingerprint(raw, preprocessed, show_progress=False)
    again = []
    monkeypatch.setattr(module, "measure_case", lambda files, reader: again.append(files) or measure(files, reader))
    result = add_unlabelled_to_fingerprint(raw, preprocessed, show_progress=False)
    assert len(again) == 2 and len(result["crln"]["unlabelled"]) == 4


@pytest.mark.parametrize("unlabelled_were_measured", [False, True])
def test_labels_corrected_while_the_fingerprint_is_made_make_it_stale(dataset, unlabelled_were_measured):
    raw, preprocessed = dataset
    record = labelled_record(raw)
    shutil.copy(raw / "labelsTr" / "lab_001.nii.gz", raw / "labelsTr" / "lab_000.nii.gz")
    note_labelled_cases(raw, preprocessed, record)
    if unlabelled_were_measured:
        add_unlabelled_to_fingerprint(raw, preprocessed, show_progress=False)
    assert labelled_fingerprint_is_stale(raw, preprocessed) and not labelled_cases_are_known(raw, preprocessed)
    write_stock_fingerprint(preprocessed)
    note_labelled_cases(raw, preprocessed, labelled_record(raw))
    assert not labelled_fingerprint_is_stale(raw, preprocessed)


def test_unreadable_image_keeps_the_others(dataset):
    raw, preprocessed = dataset
    (raw / "imagesUl" / "unl_002_0000.nii.gz").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"1 of 4 unlabelled cases .*unl_002_0000\.nii\.gz: .*Replace or remove"):
        add_unlabelled_to_fingerprint(raw, preprocessed, show_progress=False)
    assert list(read(preprocessed)["crln"]["unlabelled"]) == ["unl_000", "unl_001", "unl_003"]
    assert remove_leftovers(preprocessed) == []


def test_moving_a_labelled_case_makes_the_stock_fingerprint_stale(dataset):
    raw, preprocessed = dataset
    assert not labelled_fingerprint_is_stale(raw, preprocessed)
    shutil.move(raw / "imagesTr" / "lab_000_0000.nii.gz", raw / "imagesUl")
    assert labelled_fingerprint_is_stale(raw, preprocessed)  # another number of cases
    shutil.move(raw / "imagesUl" / "lab_000_0000.nii.gz", raw / "imagesTr")
    add_unlabelled_to_fingerprint(raw, preprocessed, show_progress=False)
    assert not labelled_fingerprint_is_stale(raw, preprocessed)
    shutil.copy(raw / "labelsTr" / "lab_001.nii.gz", raw / "labelsTr" / "lab_000.nii.gz")
    assert labelled_fingerprint_is_stale(raw, preprocessed)  # a corrected label


@pytest.mark.parametrize("content", ['{"spacings": [[1.0', "[]", "{}"])
def test_a_damaged_fingerprint_is_made_again(dataset, content):
    raw, preprocessed = dataset
    (preprocessed / "dataset_fingerprint.json").write_text(content)
    assert labelled_fingerprint_is_stale(raw, preprocessed)
    assert not labelled_cases_are_known(raw, preprocessed)


def test_no_fingerprint_is_not_stale(make_dataset, tmp_path):
    assert not labelled_fingerprint_is_stale(make_dataset(), tmp_path / "none")


def test_labelled_cases_are_known_until_a_file_or_the_meaning_of_a_value_changes(dataset):
    raw, preprocessed = dataset
    assert not labelled_cases_are_known(raw, preprocessed)  # of nnU-Net's own fingerprint nobody knows the files
    add_unlabelled_to_fingerprint(raw, preprocessed, show_progress=False)
    assert labelled_cases_are_known(raw, preprocessed)
    before = (raw / "dataset.json").read_text(encoding="utf-8")
    content = json.loads(before)
    content["labels"]["another"] = max(content["labels"].values()) + 1
    (raw / "dataset.json").write_text(json.dumps(content))
    assert not labelled_cases_are_known(raw, preprocessed)
    (raw / "dataset.json").write_text(before)
    assert labelled_cases_are_known(raw, preprocessed)
    shutil.copy(raw / "labelsTr" / "lab_001.nii.gz", raw / "labelsTr" / "lab_000.nii.gz")
    assert not labelled_cases_are_known(raw, preprocessed)
