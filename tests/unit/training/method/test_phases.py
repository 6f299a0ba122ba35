"""Start of rectification and growth of the unsupervised terms."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.method.phases import Phases

SHARES = [(40_000, 800, 4000, 1000), (250_000, 5000, 25_000, 1000), (1000, 20, 100, 500), (1, 0, 0, 0)]


@pytest.mark.parametrize(("total", "rectification", "ramp", "unsupervised"), SHARES)
def test_the_schedule_is_a_share_of_the_training(total, rectification, ramp, unsupervised):
    assert Phases.of(CRLNSettings(), total) == Phases(rectification, ramp, unsupervised)


def test_a_given_schedule_stays_zero_included():
    given = {"rectification_start": 0, "ramp_up": 7, "unsupervised_start": 0}
    assert Phases.of(CRLNSettings(**given), 40_000) == Phases(0, 7, 0)
    assert Phases.of(CRLNSettings(unsupervised_start=3), 40_000, pretrained=True).unsupervised_start == 3


def test_trained_weights_meet_the_unsupervised_terms_at_once():
    assert Phases.of(CRLNSettings(), 40_000, pretrained=True).unsupervised_start == 0


def test_rectification_begins_at_its_iteration_and_never_without_a_dim():
    schedule = Phases.of(CRLNSettings(), 40_000)
    assert not schedule.at(799).rectifying and schedule.at(800).rectifying
    assert not Phases.of(CRLNSettings(dim=False), 40_000).at(39_999).rectifying


@given(start=st.integers(0, 10**5), length=st.integers(1, 10**5), step=st.integers(0, 2 * 10**5))
def test_ramp_is_0_then_gaussian_and_then_1(start, length, step):
    ramp = Phases(0, length, start).at(step).ramp
    if step < start:
        assert ramp == 0
    else:
        distance = max(0.0, (length - (step - start)) / length)
        assert ramp == pytest.approx(math.e ** (-5 * distance**2))


def test_without_a_length_the_ramp_is_1_from_the_start():
    assert [Phases(0, 0, 2).at(step).ramp for step in range(4)] == [0.0, 0.0, 1.0, 1.0]
