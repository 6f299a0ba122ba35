"""Parallel runs: results, errors and dying processes."""

import os

import pytest

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.unlabelled.parallel import run_parallel


def halve(value):
    """Fails for odd numbers."""
    if value % 2:
        raise ValueError(f"{value} is odd")
    return value // 2


def fail_without_text(_):
    """As some of nnU-Net's readers do."""
    raise RuntimeError()


def die(_):
    """As a process that the operating system kills."""
    os._exit(9)


@pytest.mark.parametrize("processes", [1, 2])
def test_one_bad_item_does_not_lose_the_others(processes):
    outcomes = {o.name: o for o in run_parallel(halve, {"a": [2], "b": [3], "c": [8]}, processes, "", False)}
    assert (outcomes["a"].value, outcomes["c"].value) == (1, 4)
    assert outcomes["b"].error == "ValueError: 3 is odd"


def test_nothing_to_do():
    assert list(run_parallel(halve, {}, 4, "", False)) == []


def test_error_without_text_tells_where():
    (outcome,) = run_parallel(fail_without_text, {"a": [1]}, 1, "", False)
    assert "RuntimeError in" in outcome.error and "test_parallel.py" in outcome.error


def test_dying_process_is_noticed():
    with pytest.raises(UserError, match=r"process died after 0 of 2 cases.*memory.*-np"):
        list(run_parallel(die, {"a": [1], "b": [2]}, 2, "", False))
