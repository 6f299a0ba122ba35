"""CRLN's curves in nnU-Net's epoch log."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from nnunetv2.training.logging import nnunet_logger

from nnunetv2_crln.layout import MONITORED
from nnunetv2_crln.training.epoch_log import (
    CURVES,
    LOGGED,
    complete_log,
    finite_mean,
    log_losses,
    log_monitored,
    means_of_epoch,
    with_end_of_epoch,
)


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


def test_the_epoch_of_a_best_checkpoint_has_an_end():
    logging = {"epoch_start_timestamps": [1.0, 2.0], "epoch_end_timestamps": [2.0]}
    saved = with_end_of_epoch(logging, epochs=2)
    assert saved["epoch_end_timestamps"][0] == 2.0 and len(saved["epoch_end_timestamps"]) == 2
    assert logging["epoch_end_timestamps"] == [2.0]  # nnU-Net adds the end itself
    assert with_end_of_epoch(saved, epochs=2) == saved


def test_means_leave_out_the_steps_that_were_not_finite():
    outputs = [{"loss": torch.tensor(value), "cps": torch.tensor(1.0)} for value in (1.0, math.nan, 3.0)]
    assert means_of_epoch(outputs) == {"loss": 2.0, "cps": 1.0}


def test_every_curve_is_logged_once_and_what_a_trainer_lacks_is_nan():
    logger, lines = Recorder(), []
    logger.local_logger = logger
    log_losses(logger, 4, {"supervised": 0.5, "mu": 0.25, "loss": 1.0, "skipped_steps": 2}, lines.append)
    assert {key for key, epoch in logger.values if epoch == 4} == {f"crln_{curve}" for curve in CURVES}
    assert logger.values["crln_supervised", 4] == 0.5 and math.isnan(logger.values["crln_cps", 4])
    expected = (
        "Skipped steps in this epoch, for a non-finite gradient: 2 (with mixed precision one now and then is normal)"
    )
    assert lines == [expected]


@pytest.mark.parametrize("measured", [True, False])
def test_what_was_not_measured_reaches_nnunets_own_log_alone(measured):
    everywhere, local = Recorder(), Recorder()
    everywhere.local_logger = local
    log_monitored(everywhere, 0, {"pseudo_dice": 0.5} if measured else {})
    assert ("crln_pseudo_dice", 0) in (everywhere if measured else local).values
    assert len(everywhere.values) + len(local.values) == len(MONITORED)


def log_two_epochs(folder) -> None:
    """Log as a trainer does, through nnU-Net's own logger."""
    logger = nnunet_logger.MetaLogger(folder, resume=False)
    complete_log(logger.local_logger.my_fantastic_logging, epochs=0)
    for epoch, mu in enumerate((0.25, 0.5)):
        log_losses(logger, epoch, {"supervised": 1.0, "mu": mu}, print)
        log_monitored(logger, epoch, {"pseudo_dice": 0.75} if epoch else {})
        assert {len(logger.get_value(key, None)) for key in LOGGED} == {epoch + 1}


def test_curves_reach_weights_and_biases_under_their_names(tmp_path, monkeypatch):
    sent = []
    run = SimpleNamespace(step=0, summary={}, config={}, log=lambda values, step: sent.append((step, values)))
    monkeypatch.setattr(nnunet_logger, "wandb", SimpleNamespace(init=lambda **_: run))
    monkeypatch.setenv("nnUNet_wandb_enabled", "1")
    log_two_epochs(tmp_path)
    assert [(step, values) for step, values in sent if "crln_mu" in values] == [
        (0, {"crln_mu": 0.25}),
        (1, {"crln_mu": 0.5}),
    ]
    assert {key for _, values in sent for key in values} == {"crln_supervised", "crln_mu", "crln_pseudo_dice"}
    assert all(math.isfinite(value) for _, values in sent for value in values.values())


@pytest.mark.slow
def test_curves_are_in_the_file_of_an_offline_run(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="needs pip install wandb")
    monkeypatch.setenv("nnUNet_wandb_enabled", "1")
    monkeypatch.setenv("nnUNet_wandb_mode", "offline")
    log_two_epochs(tmp_path)
    wandb.finish()
    (run,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert b"crln_mu" in run.read_bytes() and b"crln_pseudo_dice" in run.read_bytes()


def test_outputs_of_a_trainer_with_its_own_step_may_be_those_of_nnunet():
    outputs = [{"loss": np.array(1.0), "mine": 1}, {"loss": np.array(2.0), "mine": 4}]
    assert means_of_epoch(outputs) == {"loss": 1.5, "mine": 2.5}


def test_mean_of_the_finite_values():
    values = torch.tensor([[1.0, math.nan, math.nan], [3.0, 2.0, math.inf]])
    mean = finite_mean(values)
    assert mean[:2].tolist() == [2.0, 2.0] and math.isnan(mean[2])
