"""Whole-volume refresh: components, files, which refresh a batch uses, what a kill or an old folder leaves behind."""

import itertools
import multiprocessing
import random
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.training.dataloading.batches import SeededBatches
from nnunetv2_crln.training.dataloading.workers import in_workers
from nnunetv2_crln.training.whole_volume_refresh import refresh as refresh_module
from nnunetv2_crln.training.whole_volume_refresh.components import (
    largest_alone,
    masks_of,
    sample_places,
    with_one_component,
)
from nnunetv2_crln.training.whole_volume_refresh.refresh import WholeVolumeRefresh
from nnunetv2_crln.training.whole_volume_refresh.schedule import RefreshInForce, RefreshSchedule
from nnunetv2_crln.training.whole_volume_refresh.store import Decision, RefreshFindings, RefreshStore, digest_of
from nnunetv2_crln.training.whole_volume_refresh.volume_teacher import _most_probable

# ------------------------------------------------------------------ components


def flood(mask: np.ndarray) -> list[set]:
    """Components of a mask by walking from voxel to voxel, corners included; the largest first."""
    left = {tuple(place) for place in np.argwhere(mask)}
    found = []
    steps = [step for step in itertools.product((-1, 0, 1), repeat=mask.ndim) if any(step)]
    while left:
        component, border = set(), [left.pop()]
        while border:
            place = border.pop()
            component.add(place)
            for step in steps:
                near = tuple(p + s for p, s in zip(place, step, strict=True))
                if near in left:
                    left.remove(near)
                    border.append(near)
        found.append(component)
    return sorted(found, key=len, reverse=True)


def random_masks(seed: int, classes: int = 2, shape=(6, 7, 8), share: float = 0.1) -> np.ndarray:
    """Masks of classes that do not overlap, each with a component that is larger than any other."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(shape) < share) * rng.integers(1, classes + 1, shape)
    labels[:3, :4, :4], labels[4:, 5:, 5:] = 1, classes
    return masks_of(labels, range(1, classes + 1))


@pytest.mark.parametrize("seed", range(8))
def test_all_but_the_largest_component_are_removed_as_by_walking(seed):
    masks = random_masks(seed)
    single = np.array([True, seed % 2 == 0])
    kept, removed = largest_alone(masks, single)
    expected = masks.copy()
    for number in np.flatnonzero(single):
        expected[number] = False
        for place in flood(masks[number])[0]:
            expected[number][place] = True
    assert np.array_equal(kept, expected)
    stays = expected.any(0)
    background = np.zeros_like(stays)
    for piece in flood(masks.any(0)):
        if not any(stays[place] for place in piece):
            for place in piece:
                background[place] = True
    # A removed component that touches what stays may be a piece of it: nothing is known there.
    assert np.array_equal(removed, background)


@pytest.mark.parametrize("seed", range(4))
def test_classes_with_one_component_are_found_as_by_walking(seed):
    cases = [random_masks(10 * seed + number, share=0.004) for number in range(3)]
    expected = [all(len(flood(masks[number])) == 1 for masks in cases) for number in range(2)]
    assert with_one_component(cases).tolist() == expected


def test_a_class_that_a_case_lacks_or_has_twice_is_not_filtered():
    masks = np.zeros((3, 4, 4, 4), dtype=bool)
    masks[0, 0, 0, 0] = masks[0, 1, 1, 1] = True  # connected by a corner
    masks[1, 0], masks[1, 3] = True, True
    assert with_one_component([masks]).tolist() == [True, False, False]
    with pytest.raises(ValueError, match="no labelled case"):
        with_one_component([])


def test_a_region_inside_of_another_one_is_never_background():
    labels = np.ones((3, 3, 9), dtype=int)
    labels[:, :, 0], labels[1, 1, 1:4], labels[1, 1, 7] = 0, 2, 2
    masks = masks_of(labels, [(1, 2), (2,)])
    kept, removed = largest_alone(masks, np.array([True, True]))
    assert masks[0].sum() == 72 and masks[1].sum() == 4
    assert kept[0].sum() == 72 and kept[1].sum() == 3
    assert not removed.any()


def test_places_are_foreground_and_no_more_than_allowed():
    masks = random_masks(0)
    all_of_them, some = (sample_places(masks, most, np.random.default_rng(0)) for most in (10_000, 5))
    for mask, places, few in zip(masks, all_of_them, some, strict=True):
        assert len(places) == mask.sum() and len(few) == 5
        assert (places[:, 0] == 0).all() and mask[tuple(places[:, 1:].T)].all() and mask[tuple(few[:, 1:].T)].all()


# ------------------------------------------------------------------ files


def found() -> RefreshFindings:
    places = {1: np.ones((4, 4), np.int32), 2: np.zeros((0, 4), np.int32)}
    return RefreshFindings(places, np.ones((2, 3), np.int32))


def test_a_case_survives_the_round_trip(tmp_path):
    store = RefreshStore(tmp_path)
    store.begin(4, "weights")
    store.write(4, "heart", found())
    read = store.read(4, "heart")
    assert read.places.keys() == {1, 2}
    assert all(np.array_equal(read.places[key], found().places[key]) for key in read.places)
    assert np.array_equal(read.removed, found().removed)
    assert store.has(4, "heart") and not store.has(4, "liver")
    added_later = store.read(4, "liver")
    assert added_later.places == {} and len(added_later.removed) == 0


def test_a_case_is_written_completely_or_not_at_all(tmp_path, monkeypatch):
    store = RefreshStore(tmp_path)
    store.begin(0, "weights")

    def full_disk(file, **_):
        file.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full_disk)
    with pytest.raises(OSError, match="No space"):
        store.write(0, "heart", found())
    assert [path.name for path in store.cases_folder(0).iterdir()] == ["weights.json"]


def test_a_damaged_case_is_named(tmp_path):
    store = RefreshStore(tmp_path)
    store.begin(0, "weights")
    store.cases_folder(0).joinpath("heart.npz").write_bytes(b"half")
    with pytest.raises(UserError, match=r"heart\.npz, the refresh of a case, is damaged"):
        store.read(0, "heart")


def test_cases_of_other_weights_are_not_taken_for_those_of_these(tmp_path):
    store = RefreshStore(tmp_path)
    for digest, kept in (("a", False), ("a", True), ("b", False)):
        store.begin(0, digest)
        assert store.has(0, "heart") is kept
        store.write(0, "heart", found())


def test_the_digest_tells_weights_apart():
    weights = {"w": torch.arange(3.0), "b": torch.zeros(1)}
    assert digest_of(weights) == digest_of({name: value.clone() for name, value in weights.items()})
    assert digest_of(weights) != digest_of({**weights, "b": torch.ones(1)})


def test_a_continued_training_comes_to_its_decisions_again(tmp_path):
    store = RefreshStore(tmp_path)
    for epoch, refreshed in ((1, True), (3, False), (5, True)):
        store.decide(epoch, Decision(refreshed, 2.0 * refreshed))
    store.repeat_from(3)
    assert store.decisions() == {1: Decision(True, 2.0)}
    assert store.former_decision(3) == Decision(False) and store.former_decision(5) == Decision(True, 2.0)
    assert store.former_decision(1) is None
    store.decide(3, Decision(False))
    assert store.decision(3) == Decision(False) and store.former_decision(3) is None
    store.clear()
    assert store.decisions() == {} and store.former_decision(5) is None


# ------------------------------------------------------------------ the refresh in force


@pytest.mark.parametrize("every", [1, 2, 3, 5])
def test_a_refresh_is_due_every_so_many_epochs_and_not_after_the_last(every):
    schedule = RefreshSchedule(every, num_epochs=6, iterations_per_epoch=10, first_epoch=2, first_step=20)
    due = [epoch for epoch in range(6) if schedule.due(epoch)]
    assert due == [epoch for epoch in range(5) if (epoch + 1) % every == 0]
    for epoch in range(12):
        assert schedule.last_due_before(epoch) == max((e for e in due if e < epoch), default=None)
    assert [schedule.epoch_of(step) for step in (20, 29, 30, 59, 60)] == [2, 2, 3, 5, 6]


def in_force(folder, every: int = 1, epochs: int = 6) -> RefreshInForce:
    return RefreshInForce(RefreshStore(folder), RefreshSchedule(every, epochs, iterations_per_epoch=2))


def test_a_step_uses_the_last_refresh_before_its_epoch_whatever_was_decided_since(tmp_path):
    store = RefreshStore(tmp_path)
    for epoch, refreshed in ((0, False), (1, True), (2, False), (3, True), (4, True)):
        store.decide(epoch, Decision(refreshed))
    expected = {0: None, 1: None, 2: None, 3: None, 4: 1, 5: 1, 6: 1, 7: 1, 8: 3, 9: 3, 10: 4, 11: 4, 99: 4}
    refresh = in_force(tmp_path)
    for step, epoch in expected.items():
        refresh.at(step, may_wait=False)
        assert refresh.epoch == epoch, step


def test_the_deciding_process_does_not_wait_for_itself(tmp_path):
    refresh = in_force(tmp_path)
    refresh.at(1, may_wait=False)
    with pytest.raises(RuntimeError, match="no decision about a refresh after epoch 0"):
        refresh.at(2, may_wait=False)


def test_after_the_end_of_the_training_nothing_is_waited_for(tmp_path):
    refresh = in_force(tmp_path, every=2, epochs=2)
    refresh.at(1000, may_wait=True)
    assert refresh.epoch is None


def test_others_wait_for_the_decision(tmp_path):
    refresh = in_force(tmp_path)
    refresh.poll_s = 0.01
    waiting = threading.Thread(target=refresh.at, args=(2, True), daemon=True)
    waiting.start()
    time.sleep(0.1)
    assert waiting.is_alive()
    RefreshStore(tmp_path).decide(0, Decision(True))
    waiting.join(10)
    assert not waiting.is_alive() and refresh.epoch == 0


class Loader:
    def __next__(self) -> dict:
        return {"data": random.random()}


class Unlabelled:
    def __init__(self, refresh: RefreshInForce) -> None:
        self.refresh = refresh

    def go_to(self, step: int, may_wait: bool) -> None:
        self.refresh.at(step, may_wait)

    def draw(self, rng: np.random.Generator, labelled: float) -> dict:
        return {"epoch": self.refresh.epoch, "drawn": rng.random()}


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_do_not_depend_on_when_workers_make_them(tmp_path, workers):
    """Workers fetch ahead beyond the end of an epoch, whose decision comes late."""
    store, epochs, refresh = RefreshStore(tmp_path), 6, in_force(tmp_path)
    batches = SeededBatches(Loader(), Unlabelled(refresh), 3, "train", 0, workers)
    augmenter = in_workers(batches, torch.device("cpu"))
    used = []
    try:
        for epoch in range(epochs):
            used += [next(augmenter)["epoch"] for _ in range(2)]
            time.sleep(0.05)
            if epoch < epochs - 1:
                store.decide(epoch, Decision(epoch in (1, 4)))
        begin = time.monotonic()
    finally:
        if workers:
            augmenter._finish()
    assert used == [None] * 4 + [1] * 6 + [4] * 2
    assert time.monotonic() - begin < 9  # of 10 s of patience: no worker waits for a decision after the last epoch
    assert not multiprocessing.active_children()


# ------------------------------------------------------------------ making refreshes

LABEL = np.zeros((1, 6, 6, 12), dtype=np.int8)
LABEL[0, 2:4, 2:4, 2:5] = 1


class Cases:
    """Images that show their own segmentation."""

    def __init__(self, **images: np.ndarray) -> None:
        self.images = images
        self.identifiers = list(images)

    def load_case(self, case: str) -> tuple:
        return self.images[case].astype(np.float32), self.images[case], None, {}


class Teacher:
    """Sees what an image shows; counts its looks and may be killed at one."""

    def __init__(self, weights: str = "w", killed_at: int | None = None) -> None:
        self.weights, self.killed_at, self.looks = weights, killed_at, 0

    def digest(self) -> str:
        return self.weights

    def __call__(self, image: np.ndarray) -> np.ndarray:
        if self.looks == self.killed_at:
            raise KeyboardInterrupt
        self.looks += 1
        return image == 1


def with_a_false_component() -> np.ndarray:
    image = LABEL.copy()
    image[0, 0, 0, 10] = 1
    return image


def making(folder, teacher, every=1, epochs=6, first_epoch=0, max_share=None, lines=None) -> WholeVolumeRefresh:
    schedule = RefreshSchedule(every, epochs, 2, first_epoch, 2 * first_epoch)
    unlabelled = Cases(a=with_a_false_component(), b=LABEL, c=LABEL)
    printed = [] if lines is None else lines
    return WholeVolumeRefresh(
        RefreshStore(folder), schedule, unlabelled, Cases(z=LABEL), [1], teacher, max_share, printed.append
    )


def test_foreground_places_and_removed_components_are_stored(tmp_path):
    lines: list[str] = []
    making(tmp_path, Teacher(), lines=lines).after_epoch(0)
    store = RefreshStore(tmp_path)
    assert store.decision(0).refreshed
    for case in "abc":
        places = store.read(0, case).places
        assert list(places) == [1] and sorted(map(tuple, places[1])) == sorted(map(tuple, np.argwhere(LABEL)))
    assert store.read(0, "a").removed.tolist() == [[0, 0, 10]]
    assert len(store.read(0, "b").removed) == 0
    assert len(lines) == 1 and "3 unlabelled cases" in lines[0] and "background found in 1 cases" in lines[0]


def test_a_killed_refresh_goes_on_where_it_stopped_but_not_with_other_weights(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        making(tmp_path, Teacher(killed_at=2)).after_epoch(0)
    assert RefreshStore(tmp_path).decision(0) is None  # nobody reads half of it
    again = Teacher()
    making(tmp_path, again).after_epoch(0)
    assert again.looks == 1
    RefreshStore(tmp_path).repeat_from(0)
    other = Teacher("other")
    making(tmp_path, other).after_epoch(0)
    assert other.looks == 3


def test_a_training_killed_between_checkpoint_and_refresh_refreshes_before_its_first_batch(tmp_path):
    refresh = making(tmp_path, Teacher(), first_epoch=1)
    refresh.start()
    assert RefreshStore(tmp_path).decision(0).refreshed
    refresh.store.remove_older_than(1)
    teacher = Teacher()
    making(tmp_path, teacher, first_epoch=1).start()
    assert teacher.looks == 3  # its files were gone
    making(tmp_path, teacher, first_epoch=1).start()
    assert teacher.looks == 3


def test_old_refreshes_stay_as_long_as_a_checkpoint_needs_them(tmp_path):
    refresh = making(tmp_path, Teacher(), every=2, epochs=20)

    def kept() -> list[int]:
        return [epoch for epoch in range(20) if refresh.store.cases_folder(epoch).is_dir()]

    seen = []
    for epoch in range(12):
        refresh.after_epoch(epoch)
        if (epoch + 1) % 3 == 0:
            refresh.saved(epoch + 1, final=False)
            seen.append(kept())
    # Checkpoints of epochs 3, 6, 9 and 12: each needs the refresh before it, and so does the one before, which is kept.
    assert seen == [[1], [1, 3, 5], [5, 7], [7, 9, 11]]
    refresh.saved(12, final=True)
    assert kept() == [11]


def test_refreshes_that_take_too_long_are_skipped_and_a_repeated_epoch_decides_as_before(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(refresh_module, "time", SimpleNamespace(monotonic=lambda: now[0]))

    class Slow(Teacher):
        def __call__(self, image):
            now[0] += 1
            return super().__call__(image)

    refresh = making(tmp_path, Slow(), epochs=6, max_share=0.1)
    for epoch in range(5):
        now[0] += 12
        refresh.after_epoch(epoch)
    # Each takes 3 s of 6 epochs of 12 s: two of them 8 %, three 13 %.
    decisions = RefreshStore(tmp_path).decisions()
    assert [decision.refreshed for decision in decisions.values()] == [True, True, False, False, False]
    assert [decision.seconds for decision in decisions.values()] == [3, 3, 0, 0, 0]
    refresh.store.repeat_from(1)
    again = making(tmp_path, Slow(), epochs=6, first_epoch=1, max_share=0.0)
    for epoch in range(1, 5):
        now[0] += 1000
        again.after_epoch(epoch)
    repeated = RefreshStore(tmp_path).decisions()
    assert [decision.refreshed for decision in repeated.values()] == [True, True, False, False, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_most_probable_class_is_found_class_by_class(dtype):
    logits = torch.randn(7, 4, 5, 6, dtype=torch.float32).to(dtype)
    np.testing.assert_array_equal(_most_probable(logits), logits.float().argmax(0).numpy())
