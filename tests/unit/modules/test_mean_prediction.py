"""The mean of two predictions, against probabilities in double precision."""

import pytest
import torch

from nnunetv2_crln.modules.mean_prediction import mean_of_classes, mean_of_regions
from nnunetv2_crln.modules.regions import as_two_classes

GRIDS = [(5, 4), (3, 4, 5)]
KINDS = {
    "classes": (mean_of_classes, lambda logits: torch.softmax(logits.double(), 1)),
    "regions": (mean_of_regions, lambda logits: torch.sigmoid(logits.double())),
}
of_both_kinds = pytest.mark.parametrize(("mean_of", "probabilities"), KINDS.values(), ids=KINDS)


def two_predictions(grid=(3, 4, 5), scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(len(grid))
    return tuple(scale * torch.randn(2, 3, *grid, generator=generator) for _ in range(2))


@of_both_kinds
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_the_probability_is_the_mean_of_both(mean_of, probabilities, grid, scale):
    first, second = two_predictions(grid, scale)
    expected = (probabilities(first) + probabilities(second)) / 2
    torch.testing.assert_close(probabilities(mean_of(first, second)), expected, rtol=1e-4, atol=1e-7)


@of_both_kinds
@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
def test_a_prediction_is_the_mean_of_itself_on_its_own_scale(mean_of, probabilities, scale):
    first, _ = two_predictions(scale=scale)
    torch.testing.assert_close(mean_of(first, first), first)


@of_both_kinds
def test_neither_prediction_comes_first(mean_of, probabilities):
    first, second = two_predictions()
    torch.testing.assert_close(mean_of(first, second), mean_of(second, first))


@of_both_kinds
def test_nothing_overflows_where_both_are_sure(mean_of, probabilities):
    first = torch.tensor([[300.0, -300.0], [300.0, -300.0]])
    second = torch.tensor([[-300.0, 300.0], [400.0, -400.0]])
    mean = mean_of(first, second)
    assert torch.isfinite(mean).all()
    torch.testing.assert_close(probabilities(mean)[0], torch.tensor([0.5, 0.5], dtype=torch.float64))
    torch.testing.assert_close(probabilities(mean)[1], torch.tensor([1.0, 0.0], dtype=torch.float64))


@of_both_kinds
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_mean_has_full_precision_under_autocast(mean_of, probabilities, dtype):
    first, second = (logits.to(dtype) for logits in two_predictions())
    mean = mean_of(first, second)
    assert mean.dtype == torch.float32
    torch.testing.assert_close(mean, mean_of(first.float(), second.float()), rtol=0, atol=0)


def test_adding_a_number_to_all_classes_of_a_voxel_changes_no_probability():
    first, second = two_predictions()
    moved = mean_of_classes(first + 50 * torch.randn(2, 1, 3, 4, 5), second)
    torch.testing.assert_close(torch.softmax(moved, 1), torch.softmax(mean_of_classes(first, second), 1))


def test_a_region_is_a_problem_of_two_classes():
    first, second = two_predictions()
    two = torch.softmax(mean_of_classes(as_two_classes(first), as_two_classes(second)), 1)
    torch.testing.assert_close(torch.sigmoid(mean_of_regions(first, second)), two[:, 1].unflatten(0, (2, 3)))
