"""Labelled cases that are not preprocessed, or with other plans than the present ones."""

import numpy as np
import pytest
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.preprocessed_dataset.labelled_status import preprocessed_otherwise, unprocessed_labelled
from nnunetv2_crln.raw_dataset.folders import find_dataset


def plans_with(**entries) -> PlansManager:
    usual = {
        "preprocessor_name": "DefaultPreprocessor",
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "architecture": {},
    }
    # The slowest axis of the file becomes the last one.
    content = {"transpose_forward": [1, 2, 0], "configurations": {"x": {**usual, **entries}}}
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
