"""Landmarks of a case: which voxels they come from."""

import numpy as np
import pytest

from nnunetv2_crln.preprocessed_dataset.landmarks import LEVELS, landmarks_of, landmarks_of_case

RNG = np.random.default_rng(0)


def test_those_of_many_voxels_come_from_evenly_spaced_ones():
    large = RNG.normal(size=(3, 700, 1000)).astype(np.float32)
    assert np.abs(landmarks_of(large) - np.quantile(large, LEVELS))[2:-2].max() < 0.02


def test_each_channel_has_its_own_and_what_is_outside_of_the_nonzero_region_does_not_count():
    image = np.stack([RNG.normal(size=(10, 12, 14)), RNG.normal(5, 2, size=(10, 12, 14))]).astype(np.float32)
    nonzero = np.zeros((1, 10, 12, 14), np.int16)
    image[:, :, :3], nonzero[:, :, :3] = 100, -1
    found = landmarks_of_case(image, nonzero)
    assert found.shape == (2, LEVELS.size)
    assert found == pytest.approx(np.quantile(image[:, :, 3:].reshape(2, -1), LEVELS, axis=1).T)


@pytest.mark.parametrize("slices", [1, 500])
def test_of_a_large_image_some_slices_are_read(slices):
    read = []

    class OnDisk:
        shape = (1, slices, 4, 4)

        def __getitem__(self, place):
            read.append(place)
            return np.full((4, 4), float(place[1]), np.float32)

    found = landmarks_of_case(OnDisk(), np.zeros((1, slices, 4, 4), np.int16))
    assert len(read) == min(slices, 32) and found[0, -1] == pytest.approx(slices - 1, rel=0.01)


def test_an_image_without_a_nonzero_region_has_those_of_all_voxels():
    found = landmarks_of_case(np.full((1, 4, 4, 4), 2.0, np.float32), np.full((1, 4, 4, 4), -1, np.int16))
    assert (found == 2).all()
