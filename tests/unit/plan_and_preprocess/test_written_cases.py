"""Preprocessed images that would spoil a training."""

import numpy as np
import pytest
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.plan_and_preprocess.written_cases import inspect_image, unprocessed_labelled
from nnunetv2_crln.raw_dataset.folders import find_dataset


@pytest.mark.parametrize(
    ("value", "fault", "oddity"),
    [(np.nan, "NaN or infinite", ""), (-np.inf, "NaN", ""), (0, "", "constant"), (1, "", "")],
)
def test_a_written_image_is_finite_and_not_constant(value, fault, oddity):
    image = np.zeros((1, 4, 4, 4), np.float32)
    image[0, 1, 2, 3] = value
    found = inspect_image(image, channels=1)
    assert fault in found.fault and bool(fault) == bool(found.fault)
    assert oddity in found.oddity and bool(oddity) == bool(found.oddity)


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
