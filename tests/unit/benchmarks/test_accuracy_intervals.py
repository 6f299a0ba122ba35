"""Intervals of the accuracy benchmark's tables, against a slow one and in cases that recur."""

import numpy as np
import pytest
from beds import BEDS
from intervals import interval, sums_by_group


def patient_of(case):
    return case.partition("_")[0]


def some_draws(num_patients=15, seed=0):
    """Make differences of the phases of patients, which resemble each other in draws and in phases."""
    rng = np.random.default_rng(seed)
    of_patient = rng.normal(1.0, 1.0, num_patients)
    return [
        {
            f"p{i:02d}_{phase}": shift + of_patient[i] + rng.normal(0, 0.3)
            for i in range(num_patients)
            for phase in (1, 2)
        }
        for shift in (0.0, 0.8, 2.0)
    ]


def slow_interval(draws, with_draws, resamples=3000):
    rng = np.random.default_rng(1)
    patients = sorted({patient_of(case) for case in draws[0]})
    means = []
    for _ in range(resamples):
        taken_draws = rng.choice(len(draws), len(draws)) if with_draws else range(len(draws))
        taken_patients = rng.choice(patients, len(patients))
        found = []
        for draw in taken_draws:
            for patient in taken_patients:
                found += [value for case, value in draws[draw].items() if patient_of(case) == patient]
        means.append(np.mean(found))
    return np.percentile(means, [2.5, 97.5])


def width(ends):
    return ends[1] - ends[0]


@pytest.mark.parametrize("with_draws", [False, True])
def test_an_interval_equals_a_slow_one(with_draws):
    draws = some_draws()
    found = interval(*sums_by_group(draws, patient_of), with_draws)
    assert found == pytest.approx(slow_interval(draws, with_draws), abs=0.08)


@pytest.mark.parametrize("with_draws", [False, True])
def test_duplicated_draws_do_not_narrow_the_interval(with_draws):
    one = some_draws()[:1]
    once = interval(*sums_by_group(one, patient_of))
    assert interval(*sums_by_group(one * 3, patient_of)) == pytest.approx(once)
    assert width(interval(*sums_by_group(one * 3, patient_of), with_draws=True)) == pytest.approx(width(once), rel=0.05)


def test_a_second_phase_of_each_patient_does_not_narrow_the_interval():
    first = [{case: value for case, value in draw.items() if case.endswith("_1")} for draw in some_draws()]
    twice = [draw | {case[:-1] + "2": value for case, value in draw.items()} for draw in first]
    for with_draws in (False, True):
        once = interval(*sums_by_group(first, patient_of), with_draws)
        assert interval(*sums_by_group(twice, patient_of), with_draws) == pytest.approx(once)
    assert width(interval(*sums_by_group(twice))) < 0.8 * width(once)  # what happens where patients are not known


def test_draws_that_differ_make_the_interval_wider_than_cases_alone():
    alike = [{f"p{i}": 1.0 for i in range(50)}] * 3
    apart = [{f"p{i}": shift for i in range(50)} for shift in (0.0, 1.0, 2.0)]
    assert interval(*sums_by_group(alike), with_draws=True) == (1.0, 1.0)
    assert interval(*sums_by_group(apart)) == (1.0, 1.0)
    low, high = interval(*sums_by_group(apart), with_draws=True)
    assert low < 0.4 and high > 1.6


def test_undefined_differences_and_cases_that_a_draw_did_not_judge_count_for_nothing():
    draws = [{"a": 1.0, "b": float("nan"), "c": 1.0}, {"d": 1.0}]
    sums, counts = sums_by_group(draws)
    assert counts.tolist() == [[1, 0, 1, 0], [0, 0, 0, 1]] and sums.tolist() == counts.tolist()
    assert interval(sums, counts, with_draws=True) == (1.0, 1.0)


def test_the_phases_of_a_patient_of_acdc_are_one_group_and_hippocampus_cases_are_their_own():
    phases = {"patient001_frame01": 1.0, "patient001_frame12": 3.0, "patient002_frame01": 5.0}
    sums, counts = sums_by_group([phases], BEDS["acdc"]().group_of)
    assert sums.tolist() == [[4.0, 5.0]] and counts.tolist() == [[2, 1]]
    assert sums_by_group([{"hippocampus_001": 1.0}], BEDS["hippocampus"]().group_of)[1].tolist() == [[1]]
