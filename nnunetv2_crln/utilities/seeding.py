"""Draw random numbers without state: each draw follows from the seed, the name of its stream and a step.

A run that was stopped and resumed, or that uses a different number of loader workers, draws the same numbers, and no
state of a random number generator has to be saved.
"""

import random
import secrets
import zlib

import numpy as np
import torch

from nnunetv2_crln.utilities.processes import is_distributed


def derive_seed(seed: int, stream: str, step: int, rank: int = 0) -> int:
    """Derive the seed for one step of one stream.

    Args:
        seed: Seed of the training.
        stream: Name of the stream; draws of different streams are independent.
        step: Step within the stream.
        rank: Process of a distributed training.

    Returns:
        Seed in [0, 2^32).
    """
    entropy = [seed, zlib.crc32(stream.encode()), step, rank]
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def seed_everything(seed: int) -> None:
    """Seed the generators that nnU-Net's loaders and transforms use: those of Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - nnU-Net draws from the global generator
    torch.manual_seed(seed)


def draw_common_seed() -> int:
    """Draw one seed for all processes of a distributed training."""
    drawn = [secrets.randbits(31)]
    if is_distributed():
        torch.distributed.broadcast_object_list(drawn, src=0)
    return drawn[0]
