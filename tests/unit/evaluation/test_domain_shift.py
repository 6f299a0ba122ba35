"""Groups of cases that differ from the labelled ones, and those that do not."""

from types import SimpleNamespace

import numpy as np
import pytest

from nnunetv2_crln.evaluation.domain_shift import (
    FEWEST_CASES,
    MOST_CASES,
    compare_datasets,
    compare_groups,
    features_of,
    measure,
)

UNCHANGED = [0, 1, 2]


def case(rng: np.random.Generator, spacing=1.0, size=30, bright=0.0):
    """A normalised image with a bright part whose share varies from patient to patient."""
    image = rng.normal(0, 0.3, (1, size, size, size)).astype(np.float32)
    image[:, : int(size * rng.uniform(0.2, 0.4))] += 2 + bright
    image = (image - image.mean()) / image.std() + bright
    spacings = [2.0, spacing * rng.uniform(0.95, 1.05), spacing]
    return (
        image,
        np.zeros_like(image),
        None,
        {
            "spacing": spacings,
            "shape_after_cropping_and_before_resampling": [size] * 3,
        },
    )


def group(number: int, seed: int, **how):
    rng = np.random.default_rng(seed)
    cases = {f"g{seed}_{i:02d}": case(rng, **how) for i in range(number)}
    return measure(cases.__getitem__, list(cases), UNCHANGED)


@pytest.mark.parametrize("number", [4, 20])
def test_a_group_like_the_labelled_cases_is_not_far(number):
    shifts = [compare_groups(group(number, seed), {"same": group(20, 100 + seed)})[0] for seed in range(5)]
    assert not any(shift.far for shift in shifts)
    assert shifts[0].describe() == "same (20 cases): like the labelled cases"


@pytest.mark.parametrize(
    ("how", "feature"),
    [
        ({"spacing": 2.5}, "spacing of axis 2"),
        ({"size": 66}, "size of axis 0"),
        ({"bright": 1.5}, "intensity of channel 0"),
    ],
)
def test_a_shifted_group_is_far_and_the_feature_is_named(how, feature):
    like, shifted = compare_groups(group(4, 0), {"like": group(8, 1), "shifted": group(8, 2, **how)})
    assert not like.far
    assert any(text.startswith(feature) for text in shifted.far)
    assert shifted.describe().startswith("shifted (8 cases) is far from the labelled cases: ")


def test_lengths_are_told_in_mm():
    (shift,) = compare_groups(group(4, 0), {"coarse": group(4, 1, spacing=3.0)})
    assert "spacing of axis 2 in mm 3, labelled 1" in shift.far


def test_lengths_of_transposed_images_belong_to_their_axes():
    def dataset(spacing, shape):
        image = np.random.default_rng(0).normal(size=(1, 9, 9, 9))
        properties = {"spacing": spacing, "shape_after_cropping_and_before_resampling": shape}
        names = [f"{i}" for i in range(4)]
        return SimpleNamespace(identifiers=names, load_case=lambda _: (image, np.zeros_like(image), None, properties))

    # Spacing as in the file, size as nnU-Net has transposed it: 200 x 200 x 90 mm in both.
    labelled, thick = dataset([0.5, 0.5, 3], (30, 400, 400)), dataset([0.3, 0.3, 5], (18, 667, 667))
    (shift,) = compare_datasets(labelled, thick, {"thick": thick.identifiers}, [2, 0, 1])
    assert not shift.far and not shift.unusual
    thicker = dataset([0.5, 0.5, 12], (30, 400, 400))
    (shift,) = compare_datasets(labelled, thicker, {"thicker": thicker.identifiers}, [2, 0, 1])
    assert set(shift.far) == {"spacing of axis 0 in mm 12, labelled 3", "size of axis 0 in mm 360, labelled 90"}


def test_a_few_odd_cases_in_a_usual_group_are_named():
    mixed = {**group(9, 1), **group(1, 2, spacing=4.0)}
    (shift,) = compare_groups(group(6, 0), {"mixed": mixed})
    assert not shift.far and shift.unusual == ("g2_00",)
    assert "1 of 10 cases" in shift.describe()


def test_too_few_cases_are_not_judged():
    for labelled, unlabelled in ((FEWEST_CASES - 1, 9), (9, FEWEST_CASES - 1)):
        (shift,) = compare_groups(group(labelled, 0), {"few": group(unlabelled, 1, spacing=9.0)})
        assert shift.too_few and not shift.far
        assert "too few" in shift.describe()


def test_large_groups_are_sampled_evenly():
    loaded = []

    def load(name):
        loaded.append(name)
        return case(np.random.default_rng(0), size=4)

    names = [f"{i:04d}" for i in range(3 * MOST_CASES)]
    assert list(measure(load, names, UNCHANGED)) == loaded == names[::3]


def test_voxels_outside_of_the_mask_do_not_count():
    image, mask = np.zeros((1, 9, 9, 9)), np.zeros((1, 9, 9, 9))
    image[:, :3], mask[:, :3] = 100, -1
    properties = {"spacing": [1, 1, 1], "shape_after_cropping_and_before_resampling": [9, 9, 9]}
    measured = features_of(image, mask, properties, UNCHANGED)
    assert measured["intensity of channel 0, 95th percentile"] == 0
