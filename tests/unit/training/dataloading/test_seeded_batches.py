"""Batches that do not depend on the workers that make them."""

import copy
import itertools
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunetv2_crln.training.dataloading import workers
from nnunetv2_crln.training.dataloading.batches import SeededBatches
from nnunetv2_crln.training.dataloading.workers import in_workers
from nnunetv2_crln.utilities.seeding import seed_everything


class DrawingLoader:
    """Draws from every generator that nnU-Net's loader and transforms draw from, a varying number of times."""

    def __next__(self) -> dict:
        count = random.randint(1, 5)
        drawn = [random.random(), np.random.random(count).tolist(), torch.rand(count).tolist()]  # noqa: NPY002
        return {"drawn": drawn, "data": count}


class DrawingUnlabelled:
    def go_to(self, step: int, may_wait: bool) -> None:
        pass

    def draw(self, rng: np.random.Generator, labelled: int) -> dict:
        return {"unlabelled": [rng.random(), random.random(), torch.rand(1).item(), labelled]}


def seeded(num_workers: int = 1, first_step: int = 0, seed: int = 3, stream: str = "train", rank: int = 0):
    return SeededBatches(DrawingLoader(), DrawingUnlabelled(), seed, stream, first_step, num_workers, rank)


def test_nnunet_finds_the_augmentation_for_its_debug_file():
    loader = SimpleNamespace(transforms=ComposeTransforms([]))
    assert SeededBatches(loader, None, 0, "train", 0, 1).transforms is loader.transforms


def take(batches, count: int) -> list[dict]:
    return list(itertools.islice(batches, count))


def as_in_workers(batches: SeededBatches, count: int) -> list[dict]:
    """Copies with numbers, asked in turns, as MultiThreadedAugmenter does it."""
    copies = [copy.deepcopy(batches) for _ in range(batches.num_workers)]
    for number, worker in enumerate(copies):
        worker.set_thread_id(number)
    return [next(copies[i % len(copies)]) for i in range(count)]


@settings(max_examples=12)
@given(num_workers=st.integers(1, 5), first_step=st.integers(0, 1000), seed=st.integers(0, 100))
def test_batches_do_not_depend_on_the_number_of_workers(num_workers, first_step, seed):
    expected = take(seeded(1, first_step, seed), 9)
    assert as_in_workers(seeded(num_workers, first_step, seed), 9) == expected


@settings(max_examples=12)
@given(num_workers=st.integers(1, 4), stopped_after=st.integers(0, 8))
def test_a_resumed_stream_goes_on_where_it_stopped(num_workers, stopped_after):
    uninterrupted = take(seeded(), 12)
    resumed = as_in_workers(seeded(num_workers, first_step=stopped_after), 12 - stopped_after)
    assert resumed == uninterrupted[stopped_after:]


def test_batches_seeds_streams_and_ranks_differ():
    streams = [seeded(), seeded(seed=4), seeded(stream="validation"), seeded(rank=1)]
    drawn = [batch["drawn"][0] for stream in streams for batch in take(stream, 5)]
    unlabelled = [batch["unlabelled"][0] for stream in streams for batch in take(stream, 5)]
    assert len(set(drawn)) == len(set(unlabelled)) == 20


def test_batches_do_not_depend_on_what_the_process_drew_before():
    expected = take(seeded(), 3)
    batches = seeded()
    for batch in expected:
        seed_everything(99)
        assert next(batches) == batch


def test_without_an_unlabelled_stream_the_batches_are_the_labelled_ones():
    batches = SeededBatches(DrawingLoader(), None, 3, "train", 0, 1)
    assert [set(batch) for batch in take(batches, 2)] == [{"drawn", "data", "step"}] * 2
    assert [batch["drawn"] for batch in take(seeded(), 2)] == [
        batch["drawn"] for batch in take(SeededBatches(DrawingLoader(), None, 3, "train", 0, 1), 2)
    ]


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_nnunets_augmenters_deliver_the_same_batches(workers):
    """Real processes; more batches than fit into the queues."""
    augmenter = in_workers(
        SeededBatches(DrawingLoader(), DrawingUnlabelled(), 3, "train", 7, workers), torch.device("cpu")
    )
    try:
        delivered = [next(augmenter) for _ in range(11)]
    finally:
        if workers:
            augmenter._finish()
    assert delivered == take(seeded(first_step=7), 11)


@pytest.mark.parametrize(("allowed", "for_validation"), [(0, 0), (1, 1), (5, 2), (12, 6)])
def test_number_of_workers_is_nnunets(monkeypatch, allowed, for_validation):
    monkeypatch.setattr(workers, "get_allowed_n_proc_DA", lambda: allowed)
    assert workers.num_workers() == allowed
    assert workers.num_workers(for_validation=True) == for_validation
