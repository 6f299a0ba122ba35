"""Checkpoint files: atomic, with the one before kept, and loadable when the newest is damaged."""

import os
import stat
import uuid
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.training.checkpoint import load, plain, previous_file, save
from nnunetv2_crln.utilities.files import remove_leftovers

CPU = torch.device("cpu")


def state(step: int) -> dict:
    return {"weights": {"a": torch.full((3,), float(step))}, "step": step, "names": ["x", None, True]}


@pytest.fixture
def latest(tmp_path) -> Path:
    return tmp_path / "checkpoint_latest.pth"


def files(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_what_was_saved_is_loaded_with_weights_only(latest):
    save(state(3), latest, keep_previous=True)
    loaded = torch.load(latest, weights_only=True)
    assert torch.equal(loaded["weights"]["a"], torch.full((3,), 3.0))
    assert {**loaded, "weights": None} == {**state(3), "weights": None}
    assert files(latest.parent) == ["checkpoint_latest.pth"]


def test_the_replaced_file_is_kept_once(latest):
    for step in range(3):
        save(state(step), latest, keep_previous=True)
    assert load(latest, CPU)["step"] == 2
    assert load(previous_file(latest), CPU)["step"] == 1
    assert files(latest.parent) == ["checkpoint_latest.pth", "checkpoint_latest_previous.pth"]


def test_nothing_is_kept_where_it_is_not_asked_for(latest):
    for step in range(2):
        save(state(step), latest, keep_previous=False)
    assert files(latest.parent) == ["checkpoint_latest.pth"]


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (
            RuntimeError("failed\nstack"),
            UserError,
            r"checkpoint_latest\.pth cannot be written \(failed\)",
        ),
        (OSError(28, "No space left"), UserError, r"cannot be written \(No space left\).* untouched.*--c"),
        (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
    ],
)
def test_a_failing_write_leaves_the_old_file_and_nothing_else(latest, monkeypatch, error, raised, message):
    save(state(1), latest, keep_previous=True)

    def write_half(_checkpoint, file):
        file.write(b"half a checkpoint")
        raise error

    monkeypatch.setattr(torch, "save", write_half)
    with pytest.raises(raised, match=message):
        save(state(2), latest, keep_previous=True)
    assert files(latest.parent) == ["checkpoint_latest.pth"]
    assert load(latest, CPU)["step"] == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device without space")
def test_a_full_disk_is_named(latest, monkeypatch):
    """The operating system's own error, on torch's real way of writing."""
    save(state(1), latest, keep_previous=True)
    monkeypatch.setattr(uuid, "uuid4", lambda: SimpleNamespace(hex="0123456789"))
    (latest.parent / f".01234567_{latest.name}").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\)"):
        save({"weights": torch.zeros(10**6)}, latest, keep_previous=True)
    assert files(latest.parent) == ["checkpoint_latest.pth"]
    assert load(latest, CPU)["step"] == 1


def test_what_a_killed_process_left_is_removed_and_nothing_else(latest):
    save(state(1), latest, keep_previous=True)
    save(state(2), latest, keep_previous=True)
    for name in ("checkpoint_latest.pth", "checkpoint_best.pth", "checkpoint_latest_previous.pth"):
        (latest.parent / f".0a1b2c3d_{name}").write_bytes(b"half")
    (latest.parent / ".crln_training.lock").touch()
    assert len(remove_leftovers(latest.parent)) == 3
    assert files(latest.parent) == [".crln_training.lock", "checkpoint_latest.pth", "checkpoint_latest_previous.pth"]


def test_bytes_are_on_the_disk_before_the_name_changes(latest, monkeypatch):
    order = []
    replace, fsync = os.replace, os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (order.append("fsync"), fsync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append(Path(b).name), replace(a, b)))
    save(state(1), latest, keep_previous=True)
    save(state(2), latest, keep_previous=True)
    written = ["fsync", "checkpoint_latest.pth"]
    assert order == [*written, "checkpoint_latest_previous.pth", *written]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_permissions_follow_the_umask(latest, mask, mode):
    """A private temporary file would keep colleagues from predicting with the model."""
    before = os.umask(mask)
    try:
        save(state(1), latest, keep_previous=True)
    finally:
        os.umask(before)
    assert stat.S_IMODE(latest.stat().st_mode) == mode


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_checkpoint_falls_back_to_the_previous_one(tmp_path, capsys, data):
    """Cut off anywhere, or overwritten with anything."""
    latest = tmp_path / "checkpoint_latest.pth"
    save(state(1), latest, keep_previous=True)
    save(state(2), latest, keep_previous=True)
    whole = latest.read_bytes()
    cut = st.integers(0, len(whole) - 1).map(lambda length: whole[:length])
    latest.write_bytes(data.draw(cut | st.binary(max_size=40)))
    assert load(latest, CPU)["step"] == 1
    output = capsys.readouterr().out
    assert "WARNING" in output and "Continuing from checkpoint_latest_previous.pth" in output


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_checkpoint_has_its_name_at_every_moment(latest, monkeypatch, hard_links):
    """Stock nnU-Net looks for checkpoint_latest.pth before our loading can fall back to another file."""
    save(state(1), latest, keep_previous=True)
    replace, found = os.replace, []

    def replace_and_look(source, target):
        replace(source, target)
        found.append(load(latest, CPU)["step"])

    def no_link(*_):
        raise OSError("not supported")

    monkeypatch.setattr(os, "replace", replace_and_look)
    if not hard_links:
        monkeypatch.setattr(os, "link", no_link)
    save(state(2), latest, keep_previous=True)
    assert found == [1, 2]
    assert torch.load(previous_file(latest), weights_only=True)["step"] == 1
    assert sorted(p.name for p in latest.parent.iterdir()) == sorted([latest.name, previous_file(latest).name])


def test_a_damaged_checkpoint_without_a_previous_one_is_an_error_that_says_what_to_do(latest):
    latest.write_bytes(b"")
    with pytest.raises(UserError, match=r"checkpoint_latest\.pth cannot be read .* Remove the file"):
        load(latest, CPU)


def test_two_damaged_checkpoints_are_an_error_that_names_both(latest):
    latest.write_bytes(b"damaged")
    previous_file(latest).write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"Neither .*checkpoint_latest\.pth nor checkpoint_latest_previous\.pth"):
        load(latest, CPU)


numbers = st.one_of(
    st.integers(-(2**31), 2**31 - 1).map(np.int64),
    st.floats(allow_nan=False, width=32).map(np.float32),
    st.booleans().map(np.bool_),
    st.lists(st.floats(allow_nan=False), max_size=3).map(np.array),
    st.none(),
    st.text(max_size=3),
)
nested = st.recursive(
    numbers,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=3) | st.integers(0, 9).map(np.int64), inner, max_size=3),
    ),
    max_leaves=8,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=nested)
def test_numpy_values_become_plain_ones_that_weights_only_reads(tmp_path, value):
    def same(a, b):
        if isinstance(a, dict):
            return isinstance(b, dict) and all(same(a[k], b[k]) for k in a) and len(a) == len(b)
        if isinstance(a, (list, tuple)):
            return type(a) is type(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
        return bool(np.all(a == b)) and not isinstance(b, (np.generic, np.ndarray))

    path = tmp_path / "plain.pth"
    save({"value": plain(value)}, path, keep_previous=False)
    assert same(value, torch.load(path, weights_only=True)["value"])


def test_tensors_are_left_alone():
    tensor = torch.ones(2, requires_grad=True)
    assert plain({"a": [tensor]})["a"][0] is tensor
