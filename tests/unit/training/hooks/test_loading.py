"""A training on a GPU says once, and only if it is worth saying, that the GPU waits for its data."""

from types import SimpleNamespace

import pytest
import torch
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter

from nnunetv2_crln.training.dataloading.batches import SeededBatches
from nnunetv2_crln.training.dataloading.workers import WatchedWorkers
from nnunetv2_crln.training.hooks.loading import Loading

BATCHES = SeededBatches(SimpleNamespace(), None, 0, "train", 0, 3)


def lines_of(late_of_epochs: list[int], device: str = "cuda", workers=None) -> list[str]:
    """Return what a training with ten steps an epoch prints; the workers are not started."""
    trainer, lines = Loading(), []
    trainer.device, trainer.num_iterations_per_epoch = torch.device(device), 10
    trainer.dataloader_train = workers or WatchedWorkers(BATCHES, 3, pin_memory=False)
    trainer.print_to_log_file = lines.append
    for late in late_of_epochs:
        trainer.dataloader_train.late = late
        trainer.tell_of_late_batches()
    return lines


def test_a_waiting_gpu_is_told_of_once():
    (line,) = lines_of([10, 6, 6, 6])
    assert "60% of this epoch's steps" in line and "more than 3 loader processes" in line


@pytest.mark.parametrize(
    "case",
    [
        {"late_of_epochs": [10]},  # workers start in the first epoch
        {"late_of_epochs": [10, 1]},
        {"late_of_epochs": [6, 6], "device": "cpu"},  # where workers and training share the cores
        {"late_of_epochs": [6, 6], "workers": SingleThreadedAugmenter(BATCHES, None)},
    ],
)
def test_others_are_not_told(case):
    assert lines_of(**case) == []


def test_late_batches_of_one_epoch_do_not_count_for_the_next():
    workers = WatchedWorkers(BATCHES, 3, pin_memory=False)
    lines_of([6], workers=workers)
    assert workers.late == 0
