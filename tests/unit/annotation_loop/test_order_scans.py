"""Stratified uncertainty and diversity."""

import numpy as np
import pytest

from nnunetv2_crln.annotation_loop.order_scans import Structure, rank, stratified_uncertainty

NOTHING = Structure(float("nan"), 0.0)


def test_small_structures_are_compared_with_small_ones():
    """Every small structure has a lower Dice than every large one; the least sure of both kinds come first."""
    small = {f"s{i:02d}": {"x": Structure(0.5 + 0.01 * i, 1.0 + 0.01 * i)} for i in range(10)}
    large = {f"l{i:02d}": {"x": Structure(0.9 + 0.005 * i, 100.0 + i)} for i in range(10)}
    uncertainty = stratified_uncertainty({**small, **large})
    assert uncertainty["s00"] == uncertainty["l00"] == 1
    assert uncertainty["s09"] == uncertainty["l09"] == 0


def test_structures_are_averaged_and_rare_ones_are_not_missed():
    cases = {f"c{i}": {"common": Structure(0.9 - 0.1 * i, 10.0), "rare": NOTHING} for i in range(5)}
    cases["c0"]["rare"] = Structure(0.3, 2.0)
    uncertainty = stratified_uncertainty(cases)
    # The only scan with a rare structure is the surest of its kind: nothing to compare it with.
    assert uncertainty == {"c0": 0.0, "c1": 0.25, "c2": 0.5, "c3": 0.75, "c4": 1.0}


def test_a_usual_structure_that_is_absent_is_suspicious():
    cases = {f"c{i:02d}": {"x": Structure(0.9, 10.0 + i)} for i in range(19)}
    cases["odd"] = {"x": NOTHING}
    assert stratified_uncertainty(cases)["odd"] == 1


def test_nothing_found_anywhere_is_least_sure():
    assert stratified_uncertainty({"a": {"x": NOTHING}}) == {"a": 1.0}


def test_near_copies_fall_behind():
    rng = np.random.default_rng(0)
    descriptors = {f"copy{i}": np.ones(4) + 1e-3 * rng.normal(size=4) for i in range(5)}
    descriptors |= {f"other{i}": rng.normal(size=4) * 3 for i in range(5)}
    uncertainty = {case: 0.9 if case.startswith("copy") else 0.6 for case in descriptors}
    order = [place.case for place in rank(uncertainty, descriptors)]
    assert order[0].startswith("copy")
    assert all(case.startswith("other") for case in order[1:6])
    last = rank(uncertainty, descriptors)[-1]
    assert last.most_like.startswith("copy") and last.novelty < 0.05


def test_different_scans_are_in_the_order_of_uncertainty():
    descriptors = {case: np.eye(6)[i] for i, case in enumerate("abcdef")}
    uncertainty = {case: i / 10 for i, case in enumerate("abcdef")}
    assert [place.case for place in rank(uncertainty, descriptors)] == list("fedcba")


@pytest.mark.parametrize("length", [0, 3])
def test_without_differences_uncertainty_decides(length):
    descriptors = {case: np.zeros(length) for case in "abc"}
    assert [place.case for place in rank({"a": 0.1, "b": 0.9, "c": 0.5}, descriptors)] == ["b", "c", "a"]


def test_no_case_no_ranking():
    assert rank({}, {}) == []
