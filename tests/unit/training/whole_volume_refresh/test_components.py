"""Components that a class cannot have, and places of foreground."""

import itertools

import numpy as np
import pytest

from nnunetv2_crln.training.whole_volume_refresh.components import (
    largest_alone,
    masks_of,
    sample_places,
    with_one_component,
)


def flood(mask: np.ndarray) -> list[set]:
    """Components of a mask by walking from voxel to voxel, corners included; the largest first."""
    left = {tuple(place) for place in np.argwhere(mask)}
    found = []
    steps = [step for step in itertools.product((-1, 0, 1), repeat=mask.ndim) if any(step)]
    while left:
        component, border = set(), [left.pop()]
        while border:
            place = border.pop()
            component.add(place)
            for step in steps:
                near = tuple(p + s for p, s in zip(place, step, strict=True))
                if near in left:
                    left.remove(near)
                    border.append(near)
        found.append(component)
    return sorted(found, key=len, reverse=True)


def random_masks(seed: int, classes: int = 2, shape=(6, 7, 8), share: float = 0.1) -> np.ndarray:
    """Masks of classes that do not overlap, each with a component that is larger than any other."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(shape) < share) * rng.integers(1, classes + 1, shape)
    labels[:3, :4, :4], labels[4:, 5:, 5:] = 1, classes
    return masks_of(labels, range(1, classes + 1))


@pytest.mark.parametrize("seed", range(8))
def test_all_but_the_largest_component_are_removed_as_by_walking(seed):
    masks = random_masks(seed)
    single = np.array([True, seed % 2 == 0])
    kept, removed = largest_alone(masks, single)
    expected = masks.copy()
    for number in np.flatnonzero(single):
        expected[number] = False
        for place in flood(masks[number])[0]:
            expected[number][place] = True
    assert np.array_equal(kept, expected)
    stays = expected.any(0)
    background = np.zeros_like(stays)
    for piece in flood(masks.any(0)):
        if not any(stays[place] for place in piece):
            for place in piece:
                background[place] = True
    # A removed component that touches what stays may be a piece of it: nothing is known there.
    assert np.array_equal(removed, background)


@pytest.mark.parametrize("seed", range(4))
def test_classes_with_one_component_are_found_as_by_walking(seed):
    cases = [random_masks(10 * seed + number, share=0.004) for number in range(3)]
    expected = [all(len(flood(masks[number])) == 1 for masks in cases) for number in range(2)]
    assert with_one_component(cases).tolist() == expected


def test_a_class_that_a_case_lacks_or_has_twice_is_not_filtered():
    masks = np.zeros((3, 4, 4, 4), dtype=bool)
    masks[0, 0, 0, 0] = masks[0, 1, 1, 1] = True  # connected by a corner
    masks[1, 0], masks[1, 3] = True, True
    assert with_one_component([masks]).tolist() == [True, False, False]
    with pytest.raises(ValueError, match="no labelled case"):
        with_one_component([])


def test_a_region_inside_of_another_one_is_never_background():
    labels = np.ones((3, 3, 9), dtype=int)
    labels[:, :, 0], labels[1, 1, 1:4], labels[1, 1, 7] = 0, 2, 2
    masks = masks_of(labels, [(1, 2), (2,)])
    kept, removed = largest_alone(masks, np.array([True, True]))
    assert masks[0].sum() == 72 and masks[1].sum() == 4
    assert kept[0].sum() == 72 and kept[1].sum() == 3
    assert not removed.any()


def test_places_are_foreground_and_no_more_than_allowed():
    masks = random_masks(0)
    all_of_them, some = (sample_places(masks, most, np.random.default_rng(0)) for most in (10_000, 5))
    for mask, places, few in zip(masks, all_of_them, some, strict=True):
        assert len(places) == mask.sum() and len(few) == 5
        assert (places[:, 0] == 0).all() and mask[tuple(places[:, 1:].T)].all() and mask[tuple(few[:, 1:].T)].all()
