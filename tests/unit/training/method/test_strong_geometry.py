"""Geometry of the strong view: CutMix, copy-paste and flips keep image, label and confidence in step."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunetv2_crln.training.method.strong_geometry import StrongGeometry, copy_paste_voxels, cutmix_box

grids = st.integers(2, 3).flatmap(lambda ndim: st.tuples(*[st.integers(1, 7)] * ndim))


# ------------------------------------------------------------------ CutMix boxes


@settings(max_examples=80)
@given(shape=grids, alpha=st.floats(0.05, 20), seed=st.integers(0, 10_000))
def test_a_box_lies_inside_the_patch_and_is_never_empty(shape, alpha, seed):
    box = cutmix_box(shape, alpha, np.random.default_rng(seed))
    assert len(box) == len(shape)
    for side, extent in zip(box, shape, strict=True):
        assert 0 <= side.start < side.stop <= extent


@pytest.mark.parametrize("shape", [(40, 40, 40), (60, 30), (80, 20, 40)])
@pytest.mark.parametrize("alpha", [1.0, 4.0])
def test_the_share_of_a_box_follows_beta(shape, alpha):
    """Mean 1/2 and variance 1 / (4 (2 alpha + 1)) of Beta(alpha, alpha)."""
    rng = np.random.default_rng(0)
    boxes = [cutmix_box(shape, alpha, rng) for _ in range(4000)]
    share = np.array([np.prod([s.stop - s.start for s in box]) / np.prod(shape) for box in boxes])
    assert share.mean() == pytest.approx(0.5, abs=0.02)
    assert share.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


def test_every_voxel_lies_in_a_box_now_and_then():
    """The box moves over the whole patch, its corners included."""
    rng = np.random.default_rng(0)
    covered = np.zeros((6, 6, 6))
    for _ in range(600):
        covered[cutmix_box(covered.shape, 4.0, rng)] += 1
    assert covered.min() > 0
    assert covered[0, 0, 0] == pytest.approx(covered[5, 5, 5], rel=0.3)


# ------------------------------------------------------------------ geometry


def draw(batch_size: int, shape: tuple[int, ...], seed: int, probability: float = 1.0, flip: bool = True):
    axes = tuple(range(len(shape))) if flip else ()
    return StrongGeometry.draw(batch_size, shape, 4.0, probability, axes, np.random.default_rng(seed))


@settings(max_examples=60)
@given(shape=grids, batch_size=st.integers(1, 4), seed=st.integers(0, 10_000))
def test_image_label_and_confidence_stay_in_step(shape, batch_size, seed):
    """Label and confidence are functions of the image's values; after the changes they still are."""
    geometry = draw(batch_size, shape, seed)
    image = torch.randperm(batch_size * int(np.prod(shape))).reshape(batch_size, 1, *shape).float()
    moved = geometry.apply(torch.cat([image, -image], 1))
    labels, confidence = geometry.apply(image[:, 0].long() % 5), geometry.apply(image[:, 0] / 1000)
    assert moved.shape == (batch_size, 2, *shape) and labels.dtype == torch.int64
    assert torch.equal(moved[:, 0], -moved[:, 1])
    assert torch.equal(labels, moved[:, 0].long() % 5)
    assert torch.equal(confidence, moved[:, 0] / 1000)


@settings(max_examples=40)
@given(shape=grids, batch_size=st.integers(1, 4), seed=st.integers(0, 10_000))
def test_the_strong_view_equals_a_loop_over_voxels(shape, batch_size, seed):
    """Box from the next sample, then flips; the first sample lends to the last."""
    geometry = draw(batch_size, shape, seed)
    maps = torch.randperm(batch_size * int(np.prod(shape))).reshape(batch_size, *shape)
    expected = torch.zeros_like(maps)
    for b, *voxel in np.ndindex(batch_size, *shape):
        flips = geometry.flips[b].tolist()
        source = [n - 1 - v if flip else v for v, n, flip in zip(voxel, shape, flips, strict=True)]
        donor = (b + 1) % batch_size if geometry.boxes[(b, *source)] else b
        expected[(b, *voxel)] = maps[(donor, *source)]
    assert torch.equal(geometry.apply(maps), expected)


@settings(max_examples=40)
@given(shape=grids, batch_size=st.integers(1, 4), seed=st.integers(0, 10_000))
def test_flips_alone_mix_nothing_and_are_their_own_inverse(shape, batch_size, seed):
    geometry = draw(batch_size, shape, seed)
    images = torch.randn(batch_size, 2, *shape)
    unmixed = replace(geometry, boxes=torch.zeros_like(geometry.boxes))
    assert torch.equal(geometry.flip(images), unmixed.apply(images))
    assert torch.equal(geometry.flip(geometry.flip(images)), images)
    assert torch.equal(geometry.flip(images)[:, 1], geometry.flip(images[:, 1]))


def test_flips_are_drawn_for_each_sample_and_axis():
    flips = torch.cat([draw(4, (4, 4, 4), seed).flips for seed in range(200)])
    assert flips.float().mean(0).numpy() == pytest.approx([0.5] * 3, abs=0.06)
    assert {tuple(row) for row in flips.tolist()} == {tuple(bool(i & 2**a) for a in range(3)) for i in range(8)}
    one_batch = draw(4, (4, 4, 4), 0).flips
    assert len({tuple(row) for row in one_batch.tolist()}) > 1


def test_only_allowed_axes_are_flipped():
    rng = np.random.default_rng(0)
    flips = torch.cat([StrongGeometry.draw(4, (4, 4, 4), 4.0, 1.0, (1,), rng).flips for _ in range(20)])
    assert flips[:, 1].any() and not flips[:, [0, 2]].any()


def test_without_flips_and_boxes_nothing_changes():
    geometry = draw(3, (4, 4), 0, probability=0.0, flip=False)
    batch = torch.randn(3, 2, 4, 4)
    assert torch.equal(geometry.apply(batch), batch)


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_samples_are_mixed_with_the_given_probability(probability):
    mixed = torch.cat([draw(4, (4, 4, 4), seed, probability).boxes.flatten(1).any(1) for seed in range(200)])
    assert mixed.float().mean().item() == pytest.approx(probability, abs=0.05)


def test_a_single_sample_is_flipped_but_not_mixed_with_itself():
    geometries = [draw(1, (4, 4, 4), seed) for seed in range(20)]
    assert not any(geometry.boxes.any() for geometry in geometries)
    assert any(geometry.flips.any() for geometry in geometries)


def test_a_mixed_sample_holds_voxels_of_both():
    batch = torch.arange(3).view(3, 1, 1, 1).expand(3, 6, 6, 6)
    mixed = draw(3, (6, 6, 6), 1, flip=False).apply(batch)
    assert [set(sample.flatten().tolist()) for sample in mixed] == [{0, 1}, {1, 2}, {2, 0}]


# ------------------------------------------------------------------ copy-paste


def paste(batch_size: int, shape: tuple[int, ...], seed: int, probability: float = 1.0, flip: bool = True):
    axes = tuple(range(len(shape))) if flip else ()
    return StrongGeometry.draw(batch_size, shape, 4.0, 1.0, axes, np.random.default_rng(seed), probability)


@settings(max_examples=40)
@given(shape=grids, sizes=st.tuples(st.integers(1, 4), st.integers(1, 3)), seed=st.integers(0, 10_000))
def test_copied_voxels_equal_a_loop_over_voxels(shape, sizes, seed):
    """Labelled patches lend in turns; samples that are not pasted into still mix with their neighbour."""
    batch_size, num_labelled = sizes
    geometry = paste(batch_size, shape, seed, probability=0.5)
    maps = torch.arange(batch_size * int(np.prod(shape))).reshape(batch_size, *shape)
    labelled = -1 - torch.arange(num_labelled * int(np.prod(shape))).reshape(num_labelled, *shape)
    expected = torch.zeros_like(maps)
    for b, *voxel in np.ndindex(batch_size, *shape):
        flips = geometry.flips[b].tolist()
        source = [n - 1 - v if flip else v for v, n, flip in zip(voxel, shape, flips, strict=True)]
        if not geometry.boxes[(b, *source)]:
            expected[(b, *voxel)] = maps[(b, *source)]
        elif geometry.pasted[b]:
            expected[(b, *voxel)] = labelled[(b % num_labelled, *source)]
        else:
            expected[(b, *voxel)] = maps[((b + 1) % batch_size, *source)]
    assert torch.equal(geometry.apply(maps, labelled), expected)


def test_a_single_unlabelled_patch_is_mixed_with_a_labelled_one():
    mixed = paste(1, (6, 6, 6), 0).apply(torch.zeros(1, 1, 6, 6, 6), torch.ones(2, 1, 6, 6, 6))
    assert set(mixed.flatten().tolist()) == {0, 1}


def test_both_directions_occur_and_boxes_have_two_thirds_of_each_side():
    shares = [copy_paste_voxels((6, 9, 12), np.random.default_rng(seed)).float().mean().item() for seed in range(200)]
    inside = 4 * 6 * 8 / (6 * 9 * 12)
    assert {round(share, 5) for share in shares} == {round(inside, 5), round(1 - inside, 5)}
    assert np.mean(np.isclose(shares, inside)) == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_samples_are_pasted_into_with_the_given_probability(probability):
    pasted = torch.cat([paste(4, (4, 4, 4), seed, probability).pasted for seed in range(200)])
    assert pasted.float().mean().item() == pytest.approx(probability, abs=0.05)


def test_without_copy_paste_the_draws_are_those_of_cutmix_alone():
    """A training without it must not change by its mere existence."""
    before, now = draw(3, (5, 5), 7), paste(3, (5, 5), 7, probability=0.0)
    assert torch.equal(before.boxes, now.boxes) and torch.equal(before.flips, now.flips)
