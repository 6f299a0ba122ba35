"""Which refresh a batch uses, and who waits for its decision."""

import multiprocessing
import random
import sys
import threading
import time

import numpy as np
import pytest
import torch

from nnunetv2_crln.training.dataloading.batches import SeededBatches
from nnunetv2_crln.training.dataloading.workers import in_workers
from nnunetv2_crln.training.whole_volume_refresh.schedule import RefreshInForce, RefreshSchedule
from nnunetv2_crln.training.whole_volume_refresh.store import Decision, RefreshStore


@pytest.mark.parametrize("every", [1, 2, 3, 5])
def test_a_refresh_is_due_every_so_many_epochs_and_not_after_the_last(every):
    schedule = RefreshSchedule(every, num_epochs=6, iterations_per_epoch=10, first_epoch=2, first_step=20)
    due = [epoch for epoch in range(6) if schedule.due(epoch)]
    assert due == [epoch for epoch in range(5) if (epoch + 1) % every == 0]
    for epoch in range(12):
        assert schedule.last_due_before(epoch) == max((e for e in due if e < epoch), default=None)
    assert [schedule.epoch_of(step) for step in (20, 29, 30, 59, 60)] == [2, 2, 3, 5, 6]


def in_force(folder, every: int = 1, epochs: int = 6) -> RefreshInForce:
    return RefreshInForce(RefreshStore(folder), RefreshSchedule(every, epochs, iterations_per_epoch=2))


def test_a_step_uses_the_last_refresh_before_its_epoch_whatever_was_decided_since(tmp_path):
    store = RefreshStore(tmp_path)
    for epoch, refreshed in ((0, False), (1, True), (2, False), (3, True), (4, True)):
        store.decide(epoch, Decision(refreshed))
    expected = {0: None, 1: None, 2: None, 3: None, 4: 1, 5: 1, 6: 1, 7: 1, 8: 3, 9: 3, 10: 4, 11: 4, 99: 4}
    refresh = in_force(tmp_path)
    for step, epoch in expected.items():
        refresh.at(step, may_wait=False)
        assert refresh.epoch == epoch, step


def test_the_deciding_process_does_not_wait_for_itself(tmp_path):
    refresh = in_force(tmp_path)
    refresh.at(1, may_wait=False)
    with pytest.raises(RuntimeError, match="no decision about a refresh after epoch 0"):
        refresh.at(2, may_wait=False)


def test_after_the_end_of_the_training_nothing_is_waited_for(tmp_path):
    refresh = in_force(tmp_path, every=2, epochs=2)
    refresh.at(1000, may_wait=True)
    assert refresh.epoch is None


def test_others_wait_for_the_decision(tmp_path):
    refresh = in_force(tmp_path)
    refresh.poll_s = 0.01
    waiting = threading.Thread(target=refresh.at, args=(2, True), daemon=True)
    waiting.start()
    time.sleep(0.1)
    assert waiting.is_alive()
    RefreshStore(tmp_path).decide(0, Decision(True))
    waiting.join(10)
    assert not waiting.is_alive() and refresh.epoch == 0


class Loader:
    def __next__(self) -> dict:
        return {"data": random.random()}


class Unlabelled:
    def __init__(self, refresh: RefreshInForce) -> None:
        self.refresh = refresh

    def go_to(self, step: int, may_wait: bool) -> None:
        self.refresh.at(step, may_wait)

    def draw(self, rng: np.random.Generator, labelled: float) -> dict:
        return {"epoch": self.refresh.epoch, "drawn": rng.random()}


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_do_not_depend_on_when_workers_make_them(tmp_path, workers):
    """Workers fetch ahead beyond the end of an epoch, whose decision comes late."""
    store, epochs, refresh = RefreshStore(tmp_path), 6, in_force(tmp_path)
    batches = SeededBatches(Loader(), Unlabelled(refresh), 3, "train", 0, workers)
    augmenter = in_workers(batches, torch.device("cpu"))
    used = []
    try:
        for epoch in range(epochs):
            used += [next(augmenter)["epoch"] for _ in range(2)]
            time.sleep(0.05)
            if epoch < epochs - 1:
                store.decide(epoch, Decision(epoch in (1, 4)))
        begin = time.monotonic()
    finally:
        if workers:
            augmenter._finish()
    assert used == [None] * 4 + [1] * 6 + [4] * 2
    assert time.monotonic() - begin < 9  # of 10 s of patience: no worker waits for a decision after the last epoch
    assert not multiprocessing.active_children()
