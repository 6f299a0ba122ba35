"""Whole-volume refresh in a training: continued or uninterrupted, with and without workers, and switched off."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from opened_files import OpenedFiles
from tiny_training import NAME, assert_equal_weights, train_epochs, weights

from nnunetv2_crln.layout import refresh_folder
from nnunetv2_crln.training.whole_volume_refresh.refresh import WholeVolumeRefresh
from nnunetv2_crln.training.whole_volume_refresh.store import RefreshStore
from nnunetv2_crln.training.whole_volume_refresh.volume_teacher import VolumeTeacher

QUIET = {"monitor_every": 0, "overlay_every": 0, "quality_cases": 0}
REFRESH = {**QUIET, "refresh_every": 1, "refresh_max_share": None}
CASES = ["unl_000", "unl_001", "unl_002"]


def generators() -> tuple:
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
@pytest.mark.timeout(600)
def test_a_continued_training_equals_an_uninterrupted_one_and_opens_no_hidden_label(
    trainer_of, preprocessed, monkeypatch
):
    predict = VolumeTeacher.__call__

    def bright_voxels_too(teacher, image):
        """After a dozen steps the teacher sees no foreground yet."""
        masks = predict(teacher, image)
        masks[0] |= image[0] > 1
        return masks

    monkeypatch.setattr(VolumeTeacher, "__call__", bright_voxels_too)
    whole = trainer_of(results="whole", epochs=4, **REFRESH)
    with OpenedFiles(preprocessed.raw / NAME / "labelsUl") as hidden:
        train_epochs(whole, 4)
    assert hidden.opened == hidden.written == set()
    store = RefreshStore(whole.output_folder)
    assert [(epoch, made.refreshed) for epoch, made in store.decisions().items()] == [(0, True), (1, True), (2, True)]
    assert any(len(places) for case in CASES for places in store.read(2, case).places.values())  # it has a say

    first = trainer_of(results="parts", epochs=4, **REFRESH)
    train_epochs(first, 2)
    checkpoint = Path(first.output_folder, "checkpoint_latest.pth").read_bytes()
    train_epochs_more(first, 1)  # killed after the next refresh, and before its checkpoint
    Path(first.output_folder, "checkpoint_latest.pth").write_bytes(checkpoint)
    first.locks.close()
    monkeypatch.setenv("nnUNet_n_proc_DA", "2")
    second = trainer_of(results="parts", epochs=4, **REFRESH)
    second.load_checkpoint(f"{second.output_folder}/checkpoint_latest.pth")
    second.run_training()
    assert_equal_weights(weights(whole), weights(second))
    assert second.logger.get_checkpoint()["train_losses"] == whole.logger.get_checkpoint()["train_losses"]


def train_epochs_more(trainer, number: int) -> None:
    """Go on with a training that has started."""
    trainer.on_train_start, start = (lambda: None), trainer.on_train_start
    train_epochs(trainer, number)
    trainer.on_train_start = start


def test_refreshing_changes_no_state_of_the_training(trainer_of, monkeypatch):
    trainer = trainer_of("nnUNetTrainer_MeanTeacher_short", epochs=3, **REFRESH)
    after_epoch = WholeVolumeRefresh.after_epoch

    def watched(refresh, epoch):
        before = generators(), {key: value.clone() for key, value in weights(trainer).items()}
        after_epoch(refresh, epoch)
        assert generators() == before[0]
        assert_equal_weights(weights(trainer), before[1])
        assert trainer.method.teacher_taps._features == {}

    monkeypatch.setattr(WholeVolumeRefresh, "after_epoch", watched)
    trainer.run_training()
    store = RefreshStore(trainer.output_folder)
    assert list(store.decisions()) == [0, 1]
    assert [store.has(1, case) for case in CASES] == [True] * 3
    assert not store.cases_folder(0).exists()
    assert store.read(1, CASES[0]).places.keys() == {1, 2}


def test_before_the_first_refresh_and_without_any_the_training_is_the_same(trainer_of):
    off = trainer_of(results="off", epochs=2, **QUIET)
    train_epochs(off, 2)
    late = trainer_of(results="late", epochs=2, **{**REFRESH, "refresh_every": 2})
    train_epochs(late, 2)
    assert_equal_weights(weights(off), weights(late))
    assert not refresh_folder(off.output_folder).exists()


def test_a_new_training_does_not_use_the_refreshes_of_an_old_one(trainer_of):
    old = trainer_of(epochs=3, **REFRESH)
    train_epochs(old, 1)
    assert RefreshStore(old.output_folder).decisions()
    old.locks.close()
    new = trainer_of(epochs=3, **REFRESH)
    new.on_train_start()
    assert not refresh_folder(new.output_folder).exists()
