"""Limit the worker processes that nnU-Net starts: each spends ten seconds on importing torch and nnU-Net."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.dummy
import os
from collections.abc import Iterator
from typing import Any
from unittest import mock

from nnunetv2_crln.utilities.cores import usable_cores

NUMBER_OF_WORKERS = "nnUNet_def_n_proc"


class _LightContext:
    """Multiprocessing context for spawning whose pools are bounded; a pool of one is a thread of this process."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._spawn = multiprocessing.get_context("spawn")

    def Pool(self, processes: int, *arguments: Any, **keywords: Any) -> Any:
        """Return a pool with ``processes`` workers, but no more than ``most``."""
        bounded = processes if self._most is None else min(processes, self._most)
        return (multiprocessing.dummy if bounded == 1 else self._spawn).Pool(bounded, *arguments, **keywords)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._spawn, name)


@contextlib.contextmanager
def light_pools(most: int | None = None) -> Iterator[None]:
    """Bound the pools that nnU-Net spawns within the ``with`` block; a pool of one worker is a thread.

    Args:
        most: Largest number of workers of a pool; None keeps the number that nnU-Net asks for.

    Yields:
        Nothing.

    Example:
        >>> with light_pools(most=1), multiprocessing.get_context("spawn").Pool(8) as pool:
        ...     pool.map(abs, [-1, 2])
        [1, 2]
    """
    context, original = _LightContext(most), multiprocessing.get_context

    def chosen(method: str | None = None) -> Any:
        return context if method == "spawn" else original(method)

    with mock.patch.object(multiprocessing, "get_context", chosen):
        yield


def light_validation() -> contextlib.AbstractContextManager[None]:
    """Bound the pools of nnU-Net's validation by the cores, unless nnU-Net's variable says how many workers to start.

    Returns:
        A context for the validation of a training.
    """
    return light_pools(None if NUMBER_OF_WORKERS in os.environ else usable_cores())
