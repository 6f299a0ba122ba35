"""Decide from the training step alone which refresh a batch uses, so that worker timing does not matter."""

from __future__ import annotations

import time
from dataclasses import dataclass

from nnunetv2_crln.training.whole_volume_refresh.store import RefreshFindings, RefreshStore


@dataclass(frozen=True)
class RefreshSchedule:
    """Tell after which epochs a refresh is due.

    Attributes:
        every: Epochs between refreshes.
        num_epochs: Epochs of the training; after the last one no refresh is due.
        iterations_per_epoch: Steps of an epoch.
        first_epoch: Epoch with which this process begins.
        first_step: Step with which it begins.
    """

    every: int
    num_epochs: int
    iterations_per_epoch: int
    first_epoch: int = 0
    first_step: int = 0

    def due(self, epoch: int) -> bool:
        """Return whether a refresh is due after an epoch, counted from 0."""
        return (epoch + 1) % self.every == 0 and epoch + 1 < self.num_epochs

    def last_due_before(self, epoch: int) -> int | None:
        """Return the last epoch before this one after which a refresh is due; None if there is none."""
        finished = min(epoch, self.num_epochs - 1)
        return finished // self.every * self.every - 1 if finished >= self.every else None

    def epoch_of(self, step: int) -> int:
        """Return the epoch that a step of this process belongs to."""
        return self.first_epoch + (step - self.first_step) // self.iterations_per_epoch


_NOT_ASKED = -2


class RefreshInForce:
    """Find the refresh that is in force at a step, and wait for it where it is still being made.

    Args:
        store: Refreshes of the training.
        schedule: When they are due.

    Attributes:
        epoch: Epoch of the refresh in force; None if there is none.
    """

    poll_s = 0.1
    """Seconds between looks for a decision."""

    def __init__(self, store: RefreshStore, schedule: RefreshSchedule) -> None:
        self.store, self.schedule = store, schedule
        self.epoch: int | None = None
        self._decided: int | None = _NOT_ASKED

    def at(self, step: int, may_wait: bool) -> None:
        """Go to a step.

        Args:
            step: Step of the next batch.
            may_wait: True in processes that may block until the decision is written; the deciding process would wait
                for itself.

        Raises:
            RuntimeError: The decision is missing, and nobody else will make it.
        """
        epoch = self.schedule.epoch_of(step)
        due = self.schedule.last_due_before(epoch)
        if due == self._decided:
            return
        if due is not None:
            self._wait_for(due, may_wait)
        self.epoch = self.store.in_force(epoch)
        self._decided = due

    def load(self, case: str) -> RefreshFindings:
        """Load a case of the refresh in force.

        Raises:
            RuntimeError: There is none.
        """
        if self.epoch is None:
            raise RuntimeError("no refresh is in force")
        return self.store.read(self.epoch, case)

    def _wait_for(self, epoch: int, may_wait: bool) -> None:
        while self.store.decision(epoch) is None:
            if not may_wait:
                raise RuntimeError(f"no decision about a refresh after epoch {epoch}")
            time.sleep(self.poll_s)
