"""nnU-Net's worker pools inside of a test: threads, which start at once.

Spawned processes import torch anew, seconds each. Forked ones may wait for ever for a lock that a thread of the
compression library held in their parent.
"""

import multiprocessing
import multiprocessing.dummy

import pytest


class LightContext:
    """Multiprocessing context whose pools are threads; everything else is spawned."""

    def __init__(self) -> None:
        self._spawn = multiprocessing.get_context("spawn")

    Pool = staticmethod(multiprocessing.dummy.Pool)

    def __getattr__(self, name: str):
        return getattr(self._spawn, name)


def use_light_workers(patch: pytest.MonkeyPatch) -> None:
    """From now on ``multiprocessing.get_context("spawn").Pool`` is a pool of threads."""
    context = LightContext()
    patch.setattr(multiprocessing, "get_context", lambda method=None: context)
