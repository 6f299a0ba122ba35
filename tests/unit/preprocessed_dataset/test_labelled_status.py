"""Labelled cases that are not preprocessed, or with other plans than the present ones."""

import os

import numpy as np
import pytest
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.layout import labelled_info_file
from nnunetv2_crln.preprocessed_dataset.labelled_record import record_plans, recorded_plan_key
from nnunetv2_crln.preprocessed_dataset.labelled_status import preprocessed_otherwise, unprocessed_labelled
from nnunetv2_crln.raw_dataset.folders import find_dataset


def plans_with(**entries) -> PlansManager:
    usual = {
        "preprocessor_name": "DefaultPreprocessor",
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "architecture": {},
    }
    # The slowest axis of the file becomes the last one.
    content = {"image_reader_writer": "SimpleITKIO", "transpose_forward": [1, 2, 0]}
    content |= {"configurations": {"x": {**usual, **entries}}}
    return PlansManager({"dataset_name": "Dataset999_A", "plans_name": "nnUNetPlans", **content})


def save(folder, case, shape):
    """Save a case that was 12 × 20 × 30 voxels of 1 × 2 × 3 mm after transposing and cropping."""
    image, labels = np.zeros((1, *shape), np.float32), np.zeros((1, *shape), np.int16)
    properties = {"spacing": [3.0, 1.0, 2.0], "shape_after_cropping_and_before_resampling": (12, 20, 30)}
    nnUNetDatasetBlosc2.save_case(image, labels, properties, str(folder / case))


@pytest.mark.parametrize(
    ("spacing", "fitting", "other"),
    [
        ([2.0, 2.0, 3.0], (6, 20, 30), (12, 20, 30)),
        ([0.7, 2.2, 3.3], (17, 18, 27), (17, 18, 28)),
        ([4.0, 3.0], (12, 10, 30), (6, 10, 30)),  # 2d: the spacing between slices stays
    ],
)
def test_the_size_of_a_case_shows_the_spacing_that_it_has(tmp_path, spacing, fitting, other):
    plans = plans_with(spacing=spacing)
    for number in range(3):
        save(tmp_path, f"c{number}", fitting)
    assert preprocessed_otherwise(tmp_path, plans, "x") == ""
    save(tmp_path, "stale", other)
    sizes = " instead of ".join(" × ".join(map(str, shape)) for shape in (other, fitting))
    assert preprocessed_otherwise(tmp_path, plans, "x") == f"stale has {sizes} voxels"


@pytest.mark.parametrize(
    "entries", [{"preprocessor_name": "NoPreprocessor"}, {"resampling_fn_data": "no_resampling_hack"}]
)
def test_other_preprocessing_may_have_reasons_of_its_own(tmp_path, entries):
    save(tmp_path, "c", (12, 20, 30))
    assert preprocessed_otherwise(tmp_path, plans_with(spacing=[2.0, 2.0, 3.0]), "x")
    assert preprocessed_otherwise(tmp_path, plans_with(spacing=[2.0, 2.0, 3.0], **entries), "x") == ""


def test_damaged_cases_and_stray_files_are_for_others_to_name(tmp_path):
    plans = plans_with(spacing=[2.0, 2.0, 3.0])
    assert preprocessed_otherwise(tmp_path, plans, "x") == ""
    (tmp_path / "c_seg.b2nd").touch()  # the rest of a case whose image was removed
    assert preprocessed_otherwise(tmp_path, plans, "x") == ""
    (tmp_path / "c_seg.b2nd").unlink()
    save(tmp_path, "c", (6, 20, 30))
    (tmp_path / ".DS_Store").touch()
    (tmp_path / "c.pkl").write_bytes(b"")
    assert preprocessed_otherwise(tmp_path, plans, "x") == ""


def test_labelled_cases_that_are_not_preprocessed_are_named(make_dataset, nnunet_folders):
    name = make_dataset(labelled=3).name
    entry = {"data_identifier": "nnUNetPlans_2d", "architecture": {}}
    plans = PlansManager({"dataset_name": name, "plans_name": "nnUNetPlans", "configurations": {"2d": entry}})
    data = nnunet_folders.preprocessed / name / "nnUNetPlans_2d"
    assert unprocessed_labelled(find_dataset(999), plans, ["2d"]) == []  # nothing is: a training says so
    data.mkdir(parents=True)
    for case in ("lab_000", "lab_002"):
        for suffix in (".b2nd", "_seg.b2nd", ".pkl"):
            (data / f"{case}{suffix}").write_bytes(b"")
    (text,) = unprocessed_labelled(find_dataset(999), plans, ["2d"])
    assert text == (
        "1 labelled case(s) are not preprocessed for 2d, and trainings leave them out: lab_001. "
        "Run: nnUNetv2_preprocess -d 999 -plans_name nnUNetPlans -c 2d"
    )


CHANGES = {
    "spacing": [2.0, 2.0, 4.0],
    "normalization_schemes": ["RescaleTo01Normalization"],
    "use_mask_for_norm": [True],
    "resampling_fn_data_kwargs": {"order": 1},
    "resampling_fn_seg_kwargs": {"order": 0},
    "preprocessor_name": "NoPreprocessor",
}
RECORDED = {"spacing": [2.0, 2.0, 3.0], "normalization_schemes": ["ZScoreNormalization"], "use_mask_for_norm": [False]}


@pytest.fixture
def recorded(tmp_path):
    """Labelled cases whose plans are recorded."""
    folder = tmp_path / "nnUNetPlans_x"
    folder.mkdir()
    for case in ("a", "b"):
        save(folder, case, (6, 20, 30))
    record_plans(folder, plans_with(**RECORDED), "x")
    return folder


@pytest.mark.parametrize("key", CHANGES)
def test_whatever_plans_say_of_a_case_is_compared_with_those_of_the_labelled_data(recorded, key):
    assert preprocessed_otherwise(recorded, plans_with(**RECORDED), "x") == ""
    assert preprocessed_otherwise(recorded, plans_with(**RECORDED, batch_size=7, patch_size=[8, 8, 8]), "x") == ""
    changed = plans_with(**{**RECORDED, key: CHANGES[key]})
    assert "normalisation or resampling was another" in preprocessed_otherwise(recorded, changed, "x")


def test_the_record_speaks_of_the_cases_that_it_has_seen(recorded):
    changed = plans_with(**{**RECORDED, "use_mask_for_norm": [True]})
    save(recorded, "added", (6, 20, 30))  # as add_labels does, under the same plans
    assert preprocessed_otherwise(recorded, changed, "x")
    for case in ("a", "b"):  # as nnU-Net's own command does, perhaps under the changed plans
        os.utime(recorded / f"{case}.pkl", ns=(1, 1))
    assert preprocessed_otherwise(recorded, changed, "x") == ""


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"plan_key": "a", "written": 3}'])
def test_a_damaged_record_is_none(recorded, content):
    labelled_info_file(recorded).write_text(content)
    assert recorded_plan_key(recorded) is None
