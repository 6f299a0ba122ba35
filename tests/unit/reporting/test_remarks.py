"""Remarks on the course of a training."""

import pytest

from nnunetv2_crln.reporting.remarks import remarks

HEALTHY = {
    "supervised": -0.8,
    "mu": 0.5,
    "confident": 0.9,
    "monitor_foreground": 0.05,
    "pseudo_dice_raw": 0.80,
    "pseudo_dice": 0.81,
    "pseudo_dice_map": 0.75,
    "skipped_steps": 0,
}


def course(**changes) -> dict[str, list]:
    return {f"crln_{key}": [value] * 20 for key, value in {**HEALTHY, **changes}.items()}


def test_a_healthy_course_has_none():
    assert remarks(course()) == []


def test_a_stock_training_and_a_young_one_have_none():
    assert remarks({"mean_fg_dice": [0.1] * 20}) == []
    assert remarks({key: values[:3] for key, values in course(mu=1.0).items()}) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mu": 0.96}, "μ is near 1"),
        ({"confident": 0.04}, "Less than 5 %"),
        ({"monitor_foreground": 0.0}, "no foreground"),
        ({"pseudo_dice": 0.78}, "makes the pseudo labels worse"),
        ({"pseudo_dice_map": 0.4}, "collapsed"),
        ({"skipped_steps": 1}, "non-finite"),
    ],
)
def test_each_remark(changes, words):
    (found,) = remarks(course(**changes))
    assert words in found


@pytest.mark.parametrize(
    "changes",
    [{"mu": 0.94}, {"confident": 0.06}, {"pseudo_dice": 0.795}, {"pseudo_dice_map": 0.41}, {"skipped_steps": 0.9}],
)
def test_values_just_on_the_other_side_deserve_none(changes):
    assert remarks(course(**changes)) == []


def test_falling_pseudo_labels():
    logging = course()
    logging["crln_pseudo_dice"] = [0.81] * 10 + [0.75] * 10
    logging["crln_pseudo_dice_raw"] = logging["crln_pseudo_dice"]
    (found,) = remarks(logging)
    assert "fell by 0.060" in found
