"""Voxels drawn of each class, against their definition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunetv2_crln.losses.class_samples import sample_per_class


@settings(max_examples=100)
@given(
    seed=st.integers(0, 10_000),
    num_voxels=st.integers(1, 60),
    num_classes=st.integers(1, 4),
    num_samples=st.integers(1, 40),
    share=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_samples_are_eligible_of_the_class_and_never_drawn_twice(seed, num_voxels, num_classes, num_samples, share):
    torch.manual_seed(seed)
    labels = torch.randint(0, num_classes, (num_voxels,))
    eligible = torch.rand(num_voxels) < share
    samples = sample_per_class(labels, eligible, num_classes, num_samples)
    assert samples.voxels.shape == samples.valid.shape == (num_classes, num_samples)
    for label in range(num_classes):
        drawn = samples.voxels[label][samples.valid[label]].tolist()
        choice = {v for v in range(num_voxels) if eligible[v] and labels[v] == label}
        assert set(drawn) <= choice
        assert len(drawn) == len(set(drawn)) == min(num_samples, len(choice))
    # Padding too must be an index that can be read.
    assert samples.voxels.min() >= 0 and samples.voxels.max() < num_voxels


@pytest.mark.parametrize(("count", "num_samples"), [(10, 7), (9, 8), (23, 5), (12, 4), (5, 1)])
def test_every_voxel_of_a_class_is_drawn_equally_often(count, num_samples):
    labels = torch.ones(2 * count, dtype=torch.long)
    labels[::2] = 0
    draws = 2000
    drawn = np.concatenate(
        [
            sample_per_class(labels, torch.ones(2 * count, dtype=torch.bool), 2, num_samples).voxels[1].numpy()
            for _ in range(draws)
        ]
    )
    frequency = np.bincount(drawn, minlength=2 * count)[1::2] / draws
    share = num_samples / count
    assert frequency == pytest.approx(np.full(count, share), abs=5 * np.sqrt(share * (1 - share) / draws))


def test_different_calls_draw_different_voxels():
    labels, eligible = torch.zeros(1000, dtype=torch.long), torch.ones(1000, dtype=torch.bool)
    one, other = (set(sample_per_class(labels, eligible, 1, 100).voxels[0].tolist()) for _ in range(2))
    assert len(one & other) < 40


def test_a_class_of_millions_of_voxels_is_sampled_to_its_end():
    labels = torch.zeros(5_000_000, dtype=torch.int8)
    samples = sample_per_class(labels, torch.ones_like(labels, dtype=torch.bool), 1, 512)
    voxels = samples.voxels[0].sort().values
    assert samples.valid.all()
    assert (voxels.diff() > 0).all()
    assert voxels[0] < 30_000 and voxels[-1] > 4_970_000
    assert abs(voxels.double().mean() / 2_500_000 - 1) < 0.02


def test_voxels_at_equal_distances_are_the_same_in_every_call():
    labels, eligible = torch.arange(40) % 2, torch.arange(40) >= 8
    one, other = (sample_per_class(labels, eligible, 2, 4, at_random=False) for _ in range(2))
    assert one.voxels.tolist() == other.voxels.tolist() == [[8, 16, 24, 32], [9, 17, 25, 33]] and one.valid.all()
    few = sample_per_class(labels, eligible, 2, 20, at_random=False)
    assert few.voxels[0][few.valid[0]].tolist() == list(range(8, 40, 2))
