"""Start of rectification and growth of the unsupervised terms."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.phases import Phases


@pytest.mark.parametrize(("total", "start", "length"), [(40_000, 800, 4000), (250_000, 5000, 25_000), (1, 0, 0)])
def test_the_schedule_is_a_share_of_the_training(total, start, length):
    assert Phases.of(CRLNSettings(), total) == Phases(start, length)


def test_a_given_schedule_stays_zero_included():
    assert Phases.of(CRLNSettings(rectification_start=0, ramp_up=7), 40_000) == Phases(0, 7)


def test_rectification_begins_at_its_iteration_and_never_without_a_dim():
    schedule = Phases.of(CRLNSettings(), 40_000)
    assert not schedule.at(799).rectifying and schedule.at(800).rectifying
    assert not Phases.of(CRLNSettings(dim=False), 40_000).at(39_999).rectifying


@given(length=st.integers(1, 10**5), step=st.integers(0, 2 * 10**5))
def test_ramp_is_gaussian_and_then_1(length, step):
    distance = max(0.0, (length - step) / length)
    assert Phases(0, length).at(step).ramp == pytest.approx(math.e ** (-5 * distance**2))


def test_without_a_length_the_ramp_is_1_from_the_first_iteration():
    assert Phases(0, 0).at(0).ramp == 1.0
