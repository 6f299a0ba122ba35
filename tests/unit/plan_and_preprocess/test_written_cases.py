"""Preprocessed images that would spoil a training."""

import numpy as np
import pytest

from nnunetv2_crln.plan_and_preprocess.written_cases import inspect_image


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
