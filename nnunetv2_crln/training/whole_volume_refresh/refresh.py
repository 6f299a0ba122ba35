"""Make the refreshes of a training: when they are due, if they can be afforded, and again after a kill."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from nnunetv2_crln.training.whole_volume_refresh.components import (
    Region,
    largest_alone,
    masks_of,
    sample_places,
    with_one_component,
)
from nnunetv2_crln.training.whole_volume_refresh.schedule import RefreshSchedule
from nnunetv2_crln.training.whole_volume_refresh.store import Decision, RefreshFindings, RefreshStore, source_of
from nnunetv2_crln.utilities.durations import duration

MOST_PLACES = 10_000
"""Foreground voxels of a class to keep for a case, as in nnU-Net's preprocessing."""


class Teacher(Protocol):
    """Segments whole cases."""

    def digest(self) -> str:
        """Return a digest of the present weights."""

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return a mask of each class, (K, *grid), of an image, (channels, *grid)."""


class WholeVolumeRefresh:
    """Predict all unlabelled cases every so many epochs and store what the loader uses of it.

    Args:
        store: Where results go.
        schedule: When a refresh is due.
        cases: Dataset of the unlabelled cases.
        labelled: Dataset of the labelled training cases, whose components are counted.
        regions: Foreground classes or regions, in the order of the teacher's masks.
        teacher: Segments whole cases.
        max_share: Largest share of the training's time that all refreshes may take; None has no bound.
        print_line: Function that prints into the training's log.
        complete_labels: Labels show every voxel of a class; where they may show a part, components mean nothing.
    """

    def __init__(
        self,
        store: RefreshStore,
        schedule: RefreshSchedule,
        cases: Any,
        labelled: Any,
        regions: Sequence[Region],
        teacher: Teacher,
        max_share: float | None,
        print_line: Callable[[str], None],
        complete_labels: bool = True,
    ) -> None:
        self.store, self.schedule = store, schedule
        self._cases, self._labelled, self._regions = cases, labelled, regions
        self._teacher, self._max_share, self._print = teacher, max_share, print_line
        self._complete = complete_labels
        self._oldest_checkpoint = schedule.first_epoch
        self._begin = time.monotonic()
        self._spent_here = 0.0

    def start(self) -> None:
        """Make the refresh that the first batch needs, if the training was killed before it, or its files are gone."""
        first = self.schedule.first_epoch
        if (due := self.schedule.last_due_before(first)) is None:
            return
        decided = self.store.decision(due) is not None
        in_force = self.store.in_force(first)
        if not decided or (in_force is not None and not self.store.cases_folder(in_force).is_dir()):
            self.after_epoch(due)
        self._begin, self._spent_here = time.monotonic(), 0.0

    def after_epoch(self, epoch: int) -> None:
        """Refresh after an epoch, or decide not to; a repeated epoch decides as it did before.

        Args:
            epoch: Epoch that has just ended, from 0.
        """
        if not self.schedule.due(epoch):
            return
        former = self.store.former_decision(epoch)
        if former.refreshed if former else self._is_affordable(epoch):
            self._refresh(epoch, former.seconds if former else 0.0)
            return
        self.store.decide(epoch, Decision(refreshed=False))
        self._print(f"No whole-volume refresh after epoch {epoch + 1}: it would take too much of the training's time")

    def saved(self, epoch: int, final: bool) -> None:
        """Remove what no checkpoint needs any more.

        Args:
            epoch: First epoch after the checkpoint that has just been saved.
            final: No other checkpoint is left; otherwise the one before is kept too, in case this one is damaged.
        """
        needed = self.store.in_force(epoch if final else self._oldest_checkpoint)
        if needed is not None:
            self.store.remove_older_than(needed)
        self._oldest_checkpoint = epoch

    # ---------------------------------------------------------------- cost

    def _is_affordable(self, epoch: int) -> bool:
        """Return whether one more refresh, as long as the last one, stays within the bound; the first one does."""
        made = [decision.seconds for decision in self.store.decisions().values() if decision.refreshed]
        if self._max_share is None or not made:
            return True
        # Without a finished epoch nothing is known of the pace.
        pace = self._seconds_per_epoch(epoch)
        return pace is None or sum(made) + made[-1] <= self._max_share * pace * self.schedule.num_epochs

    def _seconds_per_epoch(self, epoch: int) -> float | None:
        epochs = epoch + 1 - self.schedule.first_epoch
        return (time.monotonic() - self._begin - self._spent_here) / epochs if epochs > 0 else None

    # ---------------------------------------------------------------- one refresh

    @cached_property
    def single(self) -> np.ndarray:
        """Classes that have one component in every labelled case, (K,); none where labels may show a part of them."""
        return (
            with_one_component(self._labelled_masks()) if self._complete else np.zeros(len(self._regions), dtype=bool)
        )

    def _labelled_masks(self) -> Iterator[np.ndarray]:
        for case in self._labelled.identifiers:
            _, segmentation, _, _ = self._labelled.load_case(case)
            yield masks_of(np.asarray(segmentation[:])[0], self._regions)

    def _refresh(self, epoch: int, former_seconds: float) -> None:
        begin = time.monotonic()
        pace = self._seconds_per_epoch(epoch)
        self.store.begin(epoch, self._teacher.digest())
        changed = 0
        for case in tqdm(self._cases.identifiers, desc="Whole-volume refresh", unit="case", disable=None, leave=False):
            if self.store.has(epoch, case):
                found = self.store.read(epoch, case)
            else:
                found = self._look_at(case)
                self.store.write(epoch, case, found)
            changed += len(found.removed) > 0
        seconds = time.monotonic() - begin
        self._spent_here += seconds
        self.store.decide(epoch, Decision(refreshed=True, seconds=former_seconds + seconds))
        spent = sum(decision.seconds for decision in self.store.decisions().values())
        share = f", {spent / (pace * (epoch + 1)):.1%} of the training so far" if pace else ""
        alone = [str(region) for region, single in zip(self._regions, self.single, strict=True) if single]
        self._print(
            f"Whole-volume refresh after epoch {epoch + 1}: {len(self._cases.identifiers)} unlabelled cases in "
            f"{duration(seconds)}{share}; largest component alone of {', '.join(alone) or 'no class'}, background "
            f"found in {changed} cases"
        )

    def _look_at(self, case: str) -> RefreshFindings:
        image, _, _, properties = self._cases.load_case(case)
        kept, removed = largest_alone(self._teacher(np.asarray(image[:])), self.single)
        places = sample_places(kept, MOST_PLACES, np.random.default_rng(0))
        return RefreshFindings(dict(enumerate(places, 1)), np.argwhere(removed).astype(np.int32), source_of(properties))
