"""CRLN's curves in nnU-Net's epoch log."""

import math

import pytest
import torch

from nnunetv2_crln.reporting.curves import MONITORED
from nnunetv2_crln.training.epoch_log import CURVES, LOGGED, complete_log, log_losses, log_monitored, means_of_epoch


class Recorder:
    """nnU-Net's logger as far as it is used: one value a key and epoch."""

    def __init__(self):
        self.values = {}

    def log(self, key, value, epoch):
        assert (key, epoch) not in self.values
        self.values[key, epoch] = value


def test_the_past_of_missing_keys_is_nan_and_known_values_stay():
    logging = {"crln_mu": [0.1, 0.2], "val_losses": [1.0, 0.5]}
    complete_log(logging, epochs=2)
    assert logging["crln_mu"] == [0.1, 0.2] and logging["val_losses"] == [1.0, 0.5]
    assert set(LOGGED) <= set(logging)
    assert len(logging["crln_pseudo_dice"]) == 2
    assert all(math.isnan(value) for value in logging["crln_pseudo_dice"])


def test_nothing_is_shortened():
    logging = {"crln_mu": [0.1, 0.2, 0.3]}
    complete_log(logging, epochs=2)
    assert logging["crln_mu"] == [0.1, 0.2, 0.3]


def test_means_leave_out_the_steps_that_were_not_finite():
    outputs = [{"loss": torch.tensor(value), "cps": torch.tensor(1.0)} for value in (1.0, math.nan, 3.0)]
    assert means_of_epoch(outputs) == {"loss": 2.0, "cps": 1.0}


def test_every_curve_is_logged_once_and_what_a_trainer_lacks_is_nan():
    logger, lines = Recorder(), []
    log_losses(logger, 4, {"supervised": 0.5, "mu": 0.25, "loss": 1.0, "skipped_steps": 2}, lines.append)
    assert {key for key, epoch in logger.values if epoch == 4} == {f"crln_{curve}" for curve in CURVES}
    assert logger.values["crln_supervised", 4] == 0.5 and math.isnan(logger.values["crln_cps", 4])
    assert lines == ["WARNING: 2 steps of this epoch had a non-finite gradient"]


@pytest.mark.parametrize("measured", [True, False])
def test_what_was_not_measured_reaches_nnunets_own_log_alone(measured):
    everywhere, local = Recorder(), Recorder()
    everywhere.local_logger = local
    log_monitored(everywhere, 0, {"pseudo_dice": 0.5} if measured else {})
    assert ("crln_pseudo_dice", 0) in (everywhere if measured else local).values
    assert len(everywhere.values) + len(local.values) == len(MONITORED)
