"""The generated patients: reproducible, complete, and not to be solved by a threshold."""

import numpy as np
import pytest

from nnunetv2_crln.demo.anatomy import LABELS, draw_case


def draw(number: int, **options) -> tuple[np.ndarray, np.ndarray]:
    return draw_case(np.random.default_rng([0, number]), **options)


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    return 2 * (prediction & reference).sum() / (prediction.sum() + reference.sum())


def test_the_same_state_draws_the_same_patient():
    for first, second in zip(draw(3), draw(3)):
        np.testing.assert_array_equal(first, second)


def test_patients_differ():
    assert not np.array_equal(draw(0)[1], draw(1)[1])


@pytest.mark.parametrize("shape", [(32, 40, 40), (24, 36, 30)])
def test_shape_and_types(shape):
    image, labels = draw(0, shape=shape)
    assert image.shape == labels.shape == shape
    assert (image.dtype, labels.dtype) == (np.int16, np.uint8)


@pytest.mark.parametrize("number", range(20))
def test_every_structure_is_there_and_none_touches_all_sides(number):
    image, labels = draw(number)
    assert set(np.unique(labels)) == set(LABELS.values())
    for label in (1, 2, 3):
        assert (labels == label).sum() > 100
    assert image.min() >= 0


def test_intensity_alone_does_not_tell_the_structures():
    best = []
    for number in range(5):
        image, labels = draw(number)
        cuts = np.quantile(image, np.linspace(0.02, 0.98, 25))
        best.append(
            [max(dice((image > a) & (image <= b), labels == c) for a in cuts for b in cuts if a < b) for c in (1, 2, 3)]
        )
    assert np.mean(best) < 0.5
