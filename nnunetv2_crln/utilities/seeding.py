"""Random numbers without state: every draw follows from the seed, a stream's name and a step.

A run that was stopped and resumed, or that uses another number of loader workers, draws the same numbers, and nothing
about random number generators has to be saved.
"""

import random
import secrets
import zlib

import numpy as np
import torch


def derive_seed(seed: int, stream: str, step: int, rank: int = 0) -> int:
    """A seed in [0, 2^32) for one step of one stream."""
    entropy = [seed, zlib.crc32(stream.encode()), step, rank]
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch; the generators that nnU-Net's loaders and transforms draw from."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - nnU-Net draws from the global generator
    torch.manual_seed(seed)


def draw_common_seed() -> int:
    """Draw one seed for all processes of a distributed training."""
    drawn = [secrets.randbits(31)]
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.broadcast_object_list(drawn, src=0)
    return drawn[0]
