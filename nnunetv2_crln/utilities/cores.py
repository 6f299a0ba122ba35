"""Count the cores that this process may use."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Return the number of cores that this process may use, at least 1."""
    return (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()) or 1


def one_per_core(most: int) -> int:
    """Return a number of processes: ``most``, but no more than there are cores to run them.

    Each spawned process imports torch, seconds of work, before it does anything.
    """
    return min(most, usable_cores())
