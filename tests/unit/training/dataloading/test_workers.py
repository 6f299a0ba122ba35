"""Loader workers that fail, die or lose a batch end the training with a message; a killed training ends its workers."""

import multiprocessing
import os
import random
import re
import signal
import sys
import time

import numpy as np
import pytest
import torch

from nnunetv2_crln.training.dataloading.batches import SeededBatches
from nnunetv2_crln.training.dataloading.workers import WatchedWorkers, in_workers

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="workers are forked"),
    pytest.mark.timeout(120),
]


class Images:
    """Batches of half a megabyte."""

    def __next__(self) -> dict:
        return {"data": torch.rand(2, 1, 40, 40, 40), "target": [torch.zeros(2, 1, 40, 40, 40)]}


class BrokenCase(Images):
    def __next__(self) -> dict:
        if torch.rand(1).item() < 0.3:
            raise KeyError("case_017 is broken")
        return super().__next__()


def workers(loader, number: int = 2) -> WatchedWorkers:
    return in_workers(SeededBatches(loader, None, 0, "train", 0, number), torch.device("cpu"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # batchgenerators' own thread
def test_workers_start_before_the_first_batch_is_asked_for():
    batches = workers(Images())
    try:
        assert len(batches._processes) == 2 and all(process.is_alive() for process in batches._processes)
    finally:
        batches._finish()


@pytest.mark.parametrize(("number", "cached"), [(2, 2), (12, 1)])
def test_many_workers_keep_one_batch_each_ready(number, cached):
    batches = WatchedWorkers(SeededBatches(Images(), None, 0, "train", 0, number), number, pin_memory=False)
    assert batches.num_cached_per_queue == cached


@pytest.mark.parametrize(("slow", "idle", "late"), [(True, True, True), (True, False, False), (False, True, False)])
def test_a_batch_is_late_if_an_idle_device_waits_for_it(slow, idle, late):
    """A device that is still busy with the last step loses nothing by a wait, and a batch that is ready is not late."""

    class Slow(Images):
        def __next__(self) -> dict:
            time.sleep(0.2 if slow else 0)
            return super().__next__()

    batches = WatchedWorkers(SeededBatches(Slow(), None, 0, "train", 0, 1), 1, False, device_is_idle=lambda: idle)
    try:
        next(batches)  # the first one takes the start of the worker, too
        batches.late = 0
        for _ in range(3):
            while not slow and batches.pin_memory_queue.empty():
                time.sleep(0.005)
            next(batches)
        assert (batches.late > 0) == late
    finally:
        batches._finish()


def take_until_error(batches, limit: int = 3000) -> str:
    with pytest.raises(RuntimeError) as caught:
        for _ in range(limit):
            next(batches)
    assert batches._processes == []  # nothing is left running
    return str(caught.value)


def test_an_error_in_a_worker_ends_the_training_with_its_traceback():
    message = take_until_error(workers(BrokenCase()))
    assert "KeyError: 'case_017 is broken'" in message
    assert "in __next__" in message and "test_workers.py" in message


def test_batches_before_the_error_arrive():
    batches = workers(BrokenCase())
    expected = SeededBatches(Images(), None, 0, "train", 0, 1)
    received = 0
    with pytest.raises(RuntimeError, match="case_017"):
        while True:
            assert torch.isfinite(next(batches)["data"]).all()
            received += 1
    states = [expected.seed_of(step) for step in range(20)]
    first_failure = next(i for i, seed in enumerate(states) if _first_draw(seed) < 0.3)
    assert received == first_failure


def _first_draw(seed: int) -> float:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, generator=generator).item()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # batchgenerators' own thread
@pytest.mark.parametrize("attempt", range(4))
def test_a_killed_worker_ends_the_training(attempt):
    """At a random moment: waiting, drawing, or while its batch is on the way."""
    batches = workers(Images())
    batches.patience_s = 0.5
    next(batches)
    time.sleep(random.Random(attempt).uniform(0, 0.05))
    os.kill(batches._processes[attempt % 2].pid, signal.SIGKILL)
    start = time.monotonic()
    message = take_until_error(batches)
    assert time.monotonic() - start < 60
    assert re.search(r"exit codes: (0, )?-9\b", message)


def test_full_shared_memory_is_an_error_and_no_lost_batch(monkeypatch):
    def full(_tensor):
        raise RuntimeError("unable to write to shared memory: No space left on device")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    assert "No space left on device" in take_until_error(workers(Images(), 1))


class Skipping(SeededBatches):
    """Loses the third batch, as a queue does that cannot send it."""

    def _batch(self) -> dict:
        if self.next_step == 2:
            super()._batch()
        return super()._batch()


def test_a_lost_batch_is_noticed():
    batches = WatchedWorkers(Skipping(Images(), None, 0, "train", 0, 1), 1, False)
    assert [next(batches)["step"] for _ in range(2)] == [0, 1]
    assert "step 2 was lost" in take_until_error(batches)


def train_until_killed(connection) -> None:
    batches = workers(Images())
    next(batches)
    connection.send([process.pid for process in batches._processes])
    while True:
        next(batches)


def test_workers_end_with_a_killed_training():
    ours, theirs = multiprocessing.Pipe()
    training = multiprocessing.get_context("fork").Process(target=train_until_killed, args=(theirs,))
    training.start()
    pids = ours.recv()
    assert len(pids) == 2 and all(alive(pid) for pid in pids)
    os.kill(training.pid, signal.SIGKILL)
    training.join()
    end = time.monotonic() + 60
    while any(alive(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(alive(pid) for pid in pids)


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_steps_tell_the_seeds():
    batches = SeededBatches(Images(), None, 0, "train", 0, 1)
    np.testing.assert_array_equal(
        next(batches)["data"],
        torch.rand(2, 1, 40, 40, 40, generator=torch.Generator().manual_seed(batches.seed_of(0))),
    )
