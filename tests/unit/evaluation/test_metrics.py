"""Metrics against values by hand, a brute-force reference and medpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose

from nnunetv2_crln.evaluation.metrics import (
    METRICS,
    average_surface_distance,
    border,
    dice,
    hausdorff95,
    jaccard,
    mask_metrics,
    surface_distances,
    symmetric_average_surface_distance,
)

SPACING = (2.0, 0.5, 1.25)
EMPTY = np.zeros((4, 5, 6), bool)


def box(shape: tuple[int, ...], *limits: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*limit) for limit in limits)] = True
    return mask


def random_masks(shape: tuple[int, ...], seed: int, density: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random(shape) < density, rng.random(shape) < density


def brute_force_border(mask: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """Voxel by voxel: a face neighbour that is neither object nor ignored, or lies outside the volume."""
    result = np.zeros_like(mask)
    for voxel in zip(*np.nonzero(mask)):
        for axis in range(mask.ndim):
            for step in (-1, 1):
                neighbour = list(voxel)
                neighbour[axis] += step
                outside = not 0 <= neighbour[axis] < mask.shape[axis]
                result[voxel] |= outside or not (mask[tuple(neighbour)] or ignored[tuple(neighbour)])
    return result


def brute_force_distances(
    prediction: np.ndarray, reference: np.ndarray, spacing: tuple[float, ...], ignored: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    points = [np.argwhere(brute_force_border(mask, ignored)) * spacing for mask in (prediction, reference)]
    if not (len(points[0]) and len(points[1])):
        return np.empty(0), np.empty(0)
    table = np.linalg.norm(points[0][:, None] - points[1][None], axis=-1)
    return table.min(axis=1), table.min(axis=0)


def assert_matches_brute_force(prediction: np.ndarray, reference: np.ndarray, ignored: np.ndarray | None) -> None:
    spacing = SPACING[: prediction.ndim]
    nothing = np.zeros_like(prediction) if ignored is None else ignored
    expected = brute_force_distances(prediction & ~nothing, reference & ~nothing, spacing, nothing)
    found = surface_distances(prediction, reference, spacing, ignored)
    for expected_way, found_way in zip(expected, found):
        assert_allclose(found_way, expected_way, rtol=1e-12)


masks_3d = arrays(bool, st.tuples(*[st.integers(1, 5)] * 3))


@settings(max_examples=60, deadline=None)
@given(prediction=masks_3d, seed=st.integers(0, 1000), density=st.sampled_from([0.05, 0.5, 0.9]))
def test_distances_equal_brute_force(prediction: np.ndarray, seed: int, density: float) -> None:
    reference = np.random.default_rng(seed).random(prediction.shape) < density
    assert_matches_brute_force(prediction, reference, None)


@settings(max_examples=40, deadline=None)
@given(prediction=masks_3d, seed=st.integers(0, 1000))
def test_distances_with_ignored_voxels_equal_brute_force(prediction: np.ndarray, seed: int) -> None:
    reference, ignored = random_masks(prediction.shape, seed)
    assert_matches_brute_force(prediction, reference, ignored)


def test_distances_equal_brute_force_in_2d() -> None:
    assert_matches_brute_force(*random_masks((12, 9), seed=0), None)


@pytest.mark.parametrize("density", [0.01, 0.3, 0.8])
@pytest.mark.parametrize("shape", [(17, 12), (9, 12, 10)])
def test_every_metric_equals_medpy(shape: tuple[int, ...], density: float) -> None:
    medpy = pytest.importorskip("medpy.metric.binary")
    prediction, reference = random_masks(shape, seed=1, density=density)
    spacing = SPACING[: len(shape)]
    expected = {"Dice": medpy.dc(prediction, reference), "Jaccard": medpy.jc(prediction, reference)}
    for unit, voxelspacing in (("voxel", None), ("mm", spacing)):
        expected[f"ASD_{unit}"] = medpy.asd(prediction, reference, voxelspacing)
        expected[f"ASSD_{unit}"] = medpy.assd(prediction, reference, voxelspacing)
        expected[f"HD95_{unit}"] = medpy.hd95(prediction, reference, voxelspacing)
    found = mask_metrics(prediction, reference, spacing)
    assert_allclose([found[metric.key] for metric in METRICS], [expected[metric.key] for metric in METRICS], rtol=1e-12)


def test_border_is_what_a_face_connected_erosion_removes() -> None:
    found = border(box((5, 5), (1, 4), (1, 4)))
    assert np.count_nonzero(found) == 8
    assert not found[2, 2]


def test_border_where_the_volume_ends() -> None:
    assert np.count_nonzero(border(np.ones((3, 3), bool))) == 8


def test_ignored_neighbours_make_no_border() -> None:
    mask = box((5, 5), (1, 4), (0, 3))
    ignored = box((5, 5), (0, 5), (3, 5))
    assert border(mask)[2, 2]
    assert not border(mask, ignored)[2, 2]


def two_voxels_against_one() -> tuple[np.ndarray, np.ndarray]:
    """Masks of a prediction and of a label of which one part is far from it."""
    prediction, reference = EMPTY.copy(), EMPTY.copy()
    prediction[0, 0, 0] = True
    reference[1, 0, 0] = reference[0, 0, 4] = True
    return prediction, reference


def test_every_average_distance_has_its_own_name() -> None:
    found = mask_metrics(*two_voxels_against_one(), SPACING)
    assert [found[f"{name}_{unit}"] for unit in ("voxel", "mm") for name in ("ASD", "ASSD")] == [1, 2, 2, 3]
    assert found["HD95_voxel"] == pytest.approx(np.percentile([1, 1, 4], 95))
    assert found["HD95_mm"] == pytest.approx(np.percentile([2, 2, 5], 95))
    assert (found["n_pred"], found["n_ref"]) == (1, 2)


def test_two_voxels_by_hand() -> None:
    prediction, reference = two_voxels_against_one()
    distances = surface_distances(prediction, reference)
    assert distances.to_reference.tolist() == [1]
    assert sorted(distances.to_prediction.tolist()) == [1, 4]
    assert average_surface_distance(distances) == 1  # one-way: the far part of the reference does not count
    assert symmetric_average_surface_distance(distances) == 2  # pooled: (1 + 1 + 4) / 3
    assert hausdorff95(distances) == pytest.approx(np.percentile([1, 1, 4], 95))
    in_mm = surface_distances(prediction, reference, SPACING)
    assert in_mm.to_reference.tolist() == [2]
    assert sorted(in_mm.to_prediction.tolist()) == [2, 5]


def test_shifted_cube_by_hand() -> None:
    prediction, reference = box((8, 8, 8), (1, 5), (1, 5), (1, 5)), box((8, 8, 8), (2, 6), (1, 5), (1, 5))
    assert dice(prediction, reference) == 0.75
    assert jaccard(prediction, reference) == 0.6
    assert hausdorff95(surface_distances(prediction, reference)) == 1


def test_isotropic_mm_are_scaled_voxels() -> None:
    found = mask_metrics(*random_masks((8, 8, 8), seed=2), (0.625,) * 3)
    for name in ("ASD", "ASSD", "HD95"):
        assert found[f"{name}_mm"] == pytest.approx(0.625 * found[f"{name}_voxel"], rel=1e-12)


def test_equal_masks() -> None:
    mask = box((8, 8, 8), (1, 5), (2, 7), (0, 3))
    found = mask_metrics(mask, mask, SPACING)
    assert (found["Dice"], found["Jaccard"]) == (1, 1)
    assert all(found[metric.key] == 0 for metric in METRICS if metric.unit != "%")
    assert found["n_ref"] == found["n_pred"] == 4 * 5 * 3


@pytest.mark.parametrize(
    ("prediction", "reference", "overlap"),
    [(EMPTY, ~EMPTY, 0), (~EMPTY, EMPTY, 0), (EMPTY, EMPTY, np.nan)],
    ids=["empty prediction", "empty label", "both empty"],
)
def test_empty_masks(prediction: np.ndarray, reference: np.ndarray, overlap: float) -> None:
    found = mask_metrics(prediction, reference, SPACING)
    assert_allclose([found["Dice"], found["Jaccard"]], overlap)
    assert all(np.isnan(found[metric.key]) for metric in METRICS if metric.unit != "%")


def test_ignored_voxels_count_for_neither() -> None:
    reference = box((6, 6, 6), (1, 4), (1, 4), (1, 4))
    prediction, ignored = reference.copy(), box((6, 6, 6), (4, 6), (0, 6), (0, 6))
    prediction[4:] = True  # wrong, but only where nobody annotated
    found = mask_metrics(prediction, reference, SPACING, ignored)
    assert found["Dice"] == 1
    assert found["HD95_mm"] == 0


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="must be boolean, not uint8"):
        dice(EMPTY.astype(np.uint8), EMPTY)
    with pytest.raises(ValueError, match="differ in shape"):
        surface_distances(EMPTY, EMPTY[1:])
    with pytest.raises(ValueError, match="one positive number for each of 3 axes"):
        surface_distances(EMPTY, EMPTY, (1.0, 1.0))
    with pytest.raises(ValueError, match="one positive number"):
        mask_metrics(EMPTY, EMPTY, (1.0, 0.0, 1.0))


def test_unannotated_voxels_beside_the_masks_make_no_border() -> None:
    """They lie outside of the bounding box of both masks."""
    prediction, reference = box((6, 6), (1, 4), (0, 3)), box((6, 6), (1, 4), (0, 2))
    assert_matches_brute_force(prediction, reference, box((6, 6), (0, 6), (3, 6)))
