"""Files of a refresh: complete, named if damaged, of the right weights."""

import dataclasses

import numpy as np
import pytest
import torch

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.training.whole_volume_refresh.store import (
    Decision,
    RefreshFindings,
    RefreshStore,
    digest_of,
    source_of,
)


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


def test_findings_fit_the_scan_that_they_were_made_of_alone(tmp_path):
    store = RefreshStore(tmp_path)
    store.begin(0, "weights")
    made, other = ({"crln": {"plan_key": "k", "files": {"a": [size, 1]}}} for size in (1, 2))
    store.write(0, "heart", dataclasses.replace(found(), source=source_of(made)))
    read = store.read(0, "heart")
    assert read.fits(made) and not read.fits(other) and not read.fits({})
    assert found().fits(made) and found().fits({})  # of an older version, or a labelled case


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
