"""Making refreshes: what is stored, what a kill leaves behind, what takes too long."""

from types import SimpleNamespace

import numpy as np
import pytest

from nnunetv2_crln.training.whole_volume_refresh import refresh as refresh_module
from nnunetv2_crln.training.whole_volume_refresh.refresh import WholeVolumeRefresh
from nnunetv2_crln.training.whole_volume_refresh.schedule import RefreshSchedule
from nnunetv2_crln.training.whole_volume_refresh.store import RefreshStore

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


def making(
    folder, teacher, every=1, epochs=6, first_epoch=0, max_share=None, lines=None, **options
) -> WholeVolumeRefresh:
    schedule = RefreshSchedule(every, epochs, 2, first_epoch, 2 * first_epoch)
    unlabelled = Cases(a=with_a_false_component(), b=LABEL, c=LABEL)
    printed = [] if lines is None else lines
    return WholeVolumeRefresh(
        RefreshStore(folder), schedule, unlabelled, Cases(z=LABEL), [1], teacher, max_share, printed.append, **options
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


def test_labels_that_show_a_part_say_nothing_of_components(tmp_path):
    """Of the second kidney of a scan in which one is annotated, for example."""
    refresh = making(tmp_path, Teacher(), complete_labels=False)
    assert refresh.single.tolist() == [False] and making(tmp_path, Teacher()).single.tolist() == [True]
    refresh.after_epoch(0)
    found = RefreshStore(tmp_path).read(0, "a")
    assert len(found.removed) == 0 and len(found.places[1]) == LABEL.sum() + 1


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
