"""Stateless random numbers: reproducible, and different for every seed, stream, step and rank."""

import random

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_crln.utilities.seeding import derive_seed, seed_everything

seeds, steps, ranks = st.integers(0, 2**31 - 1), st.integers(0, 10**7), st.integers(0, 64)


@given(seed=seeds, stream=st.text(max_size=12), step=steps, rank=ranks)
def test_a_derived_seed_is_reproducible_and_one_that_every_generator_takes(seed, stream, step, rank):
    derived = derive_seed(seed, stream, step, rank)
    assert derived == derive_seed(seed, stream, step, rank)
    assert 0 <= derived < 2**32


def test_seeds_streams_steps_and_ranks_differ():
    derived = [
        derive_seed(seed, stream, step, rank)
        for seed in range(3)
        for stream in ("train", "validation", "step", "weights")
        for step in range(200)
        for rank in range(3)
    ]
    # 7200 draws of 32 bits: 0.006 coincidences are expected.
    assert len(set(derived)) == len(derived)


def test_values_do_not_depend_on_the_process_or_version():
    """Python's own hash of a string differs in every process: a resumed training would draw other numbers."""
    assert derive_seed(0, "train", 0) == 1550685491
    assert derive_seed(123, "validation", 4567, 1) == 900773732


def test_every_global_generator_is_seeded():
    def draws():
        return random.random(), np.random.random(), torch.rand(1).item()  # noqa: NPY002 - as nnU-Net draws

    seed_everything(5)
    first = draws()
    assert all(a != b for a, b in zip(first, draws(), strict=True))
    seed_everything(5)
    assert draws() == first
    seed_everything(6)
    assert all(a != b for a, b in zip(first, draws(), strict=True))


def test_reseeding_forgets_the_second_normal_number_that_generators_keep():
    seed_everything(1)
    expected = random.gauss(0, 1), np.random.normal()  # noqa: NPY002
    seed_everything(2)
    random.gauss(0, 1), np.random.normal()  # noqa: NPY002
    seed_everything(1)
    assert (random.gauss(0, 1), np.random.normal()) == expected  # noqa: NPY002
