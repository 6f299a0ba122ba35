"""Do something costly often enough, but not so often that it takes much of the time."""

from __future__ import annotations

import time
from collections.abc import Callable


class ShareOfTime:
    """Skip calls of a task while they would take more than a share of the time.

    Args:
        share: Largest share of the time, between 0 and 1.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._next = 0.0

    def run(self, task: Callable[[], object], always: bool = False) -> None:
        """Do the task, unless the last time was too recent for its cost.

        Args:
            task: The task.
            always: Do it in any case.
        """
        start = time.monotonic()
        if start < self._next and not always:
            return
        task()
        end = time.monotonic()
        self._next = end + (end - start) * (1 / self._share - 1)
