"""Bootstrap of means and of paired differences."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.evaluation.bootstrap import bootstrap_mean
from nnunetv2_crln.evaluation.comparison import compare_evaluations, paired_difference

VALUES = np.random.default_rng(0).normal(0.9, 0.05, 40)


def test_sd_and_interval_approach_theory() -> None:
    found = bootstrap_mean(VALUES, resamples=20_000)
    standard_error = VALUES.std() / np.sqrt(len(VALUES))
    assert found["mean"] == pytest.approx(VALUES.mean(), rel=1e-12)
    assert found["sd"] == pytest.approx(standard_error, rel=0.03)
    assert_allclose(
        [found["ci_low"], found["ci_high"]], VALUES.mean() + np.array([-1.96, 1.96]) * standard_error, atol=1e-3
    )
    assert found["case_sd"] == pytest.approx(VALUES.std(ddof=1))
    assert found["median"] == pytest.approx(np.median(VALUES))


def test_whole_cases_are_drawn() -> None:
    """Two classes that add up to one in each case: drawn together, their mean never varies."""
    found = bootstrap_mean(np.stack([VALUES, 1 - VALUES], axis=1))
    assert found["mean"] == pytest.approx(0.5)
    assert found["sd"] == pytest.approx(0, abs=1e-12)


def test_seed_decides() -> None:
    assert bootstrap_mean(VALUES, seed=1) == bootstrap_mean(VALUES, seed=1)
    assert bootstrap_mean(VALUES, seed=1)["sd"] != bootstrap_mean(VALUES, seed=2)["sd"]


def test_undefined_values_are_left_out_and_counted() -> None:
    with_nan = np.concatenate([VALUES, [np.nan, np.nan]])
    expected = {**bootstrap_mean(VALUES), "n_nan": 2}
    assert bootstrap_mean(with_nan) == expected


@pytest.mark.parametrize(("values", "mean"), [([], np.nan), ([np.nan], np.nan), ([0.5], 0.5)])
def test_too_few_cases_leave_the_spread_undefined(values: list[float], mean: float) -> None:
    found = bootstrap_mean(np.array(values))
    assert_allclose([found["mean"], found["sd"], found["ci_low"], found["case_sd"]], [mean, np.nan, np.nan, np.nan])


def test_equal_values_have_no_spread() -> None:
    found = bootstrap_mean(np.full(5, 0.5))
    assert_allclose([found[key] for key in ("mean", "sd", "ci_low", "ci_high")], [0.5, 0, 0.5, 0.5], atol=1e-12)


def test_mean_over_classes_is_the_mean_of_class_means() -> None:
    table = np.array([[1.0, 0.0], [1.0, np.nan], [1.0, np.nan], [np.nan, np.nan]])
    found = bootstrap_mean(table)
    assert found["mean"] == 0.5
    assert (found["n"], found["n_nan"]) == (3, 4)


def test_paired_difference_against_scipy() -> None:
    other = VALUES - 0.02 + np.random.default_rng(1).normal(0, 0.01, len(VALUES))
    found = paired_difference(VALUES, other)
    assert found["difference"] == pytest.approx(found["mean_a"] - found["mean_b"])
    assert found["ci_low"] < found["difference"] < found["ci_high"]
    # Far below the spread between cases, which pairing takes out.
    assert found["sd"] == pytest.approx((VALUES - other).std() / np.sqrt(len(VALUES)), rel=0.05)
    expected = stats.wilcoxon(VALUES, other)
    assert (found["wilcoxon_statistic"], found["p_value"]) == (expected.statistic, expected.pvalue)


def test_the_test_over_several_classes_sees_the_mean_difference_of_each_case() -> None:
    a, b = np.random.default_rng(2).normal(size=(2, 12, 3))
    expected = stats.wilcoxon((a - b).mean(axis=1))
    found = paired_difference(a, b)
    assert (found["wilcoxon_statistic"], found["p_value"]) == (expected.statistic, expected.pvalue)


def test_swapping_models_swaps_the_sign() -> None:
    other = VALUES[::-1]
    one, two = paired_difference(VALUES, other), paired_difference(other, VALUES)
    assert_allclose([one["difference"], one["ci_low"]], [-two["difference"], -two["ci_high"]], atol=1e-12)
    assert one["p_value"] == two["p_value"]


def test_incomplete_pairs_are_dropped() -> None:
    a, b = np.array([1.0, 2.0, np.nan, 4.0]), np.array([0.0, np.nan, 3.0, 3.0])
    found = paired_difference(a, b)
    assert (found["mean_a"], found["mean_b"], found["difference"]) == (2.5, 1.5, 1.0)
    assert (found["n"], found["n_dropped"]) == (2, 2)


def test_equal_models_do_not_differ() -> None:
    found = paired_difference(VALUES, VALUES)
    assert (found["difference"], found["ci_low"], found["ci_high"], found["p_value"]) == (0, 0, 0, 1)


def test_no_pairs_leave_all_undefined() -> None:
    found = paired_difference(np.array([np.nan]), np.array([1.0]))
    assert np.isnan([found[key] for key in ("mean_a", "difference", "sd", "p_value")]).all()
    assert found["n"] == 0


def test_paired_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="differ"):
        paired_difference(VALUES, VALUES[1:])


def evaluation(folder: str, cases: list[str], offset: float) -> dict:
    metrics = ["Dice", "Jaccard"] + [f"{name}_{unit}" for name in ("ASD", "ASSD", "HD95") for unit in ("voxel", "mm")]
    return {
        "predictions_folder": folder,
        "classes": {"a": [1], "b": [2]},
        "cases": {
            case: {"metrics": {name: dict.fromkeys(metrics, index + offset) for name in ("a", "b")}}
            for index, case in enumerate(cases)
        },
    }


def test_compare_evaluations_pairs_by_name() -> None:
    found = compare_evaluations(evaluation("A", ["x", "y", "z"], 0.5), evaluation("B", ["x", "y", "w"], 0.0))
    assert (found["predictions_a"], found["predictions_b"], found["num_cases"]) == ("A", "B", 2)
    assert found["unpaired_cases"] == ["w", "z"]
    assert found["difference"]["b"]["HD95_mm"]["difference"] == 0.5
    assert found["foreground_mean"]["Dice"]["difference"] == 0.5


def test_compare_evaluations_refuses_what_has_no_pairs() -> None:
    one = evaluation("A", ["x"], 0.0)
    with pytest.raises(UserError, match="A and B have no case in common"):
        compare_evaluations(one, evaluation("B", ["y"], 0.0))
    with pytest.raises(UserError, match="different classes"):
        compare_evaluations(one, {**one, "classes": {"a": [1]}})


def test_the_interval_of_skewed_scores_stays_within_what_means_can_be() -> None:
    """The percentile interval; reflecting it, as the basic one does, would exceed a Dice of 1."""
    values = np.array([1.0] * 9 + [0.0])
    means = np.random.default_rng(1).choice(values, (20_000, 10)).mean(axis=1)
    found = bootstrap_mean(values, resamples=20_000)
    assert_allclose([found["ci_low"], found["ci_high"]], np.percentile(means, [2.5, 97.5]))
