"""The queue of the accuracy benchmark: order, needs, several queues at once, and what is left after a kill."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import run_queue as queue_module
from commands import wait_until
from run_queue import IN_PROGRESS, Entry, lock_of, run_queue, taking_turns

ACCURACY = Path(queue_module.__file__).parent


@pytest.fixture(autouse=True)
def hardly_any_waiting(monkeypatch):
    monkeypatch.setattr(queue_module, "_SECONDS_BETWEEN_LOOKS", 0.01)


def entry(folder, name, code=None, needs=()):
    """Make an entry that appends its name to a diary and writes its result."""
    result = folder / f"{name}.json"
    code = code or f"open({str(folder / 'diary')!r}, 'a').write('{name} '); open({str(result)!r}, 'w')"
    return Entry(name, result, [sys.executable, "-c", code], needs)


def diary(folder):
    path = folder / "diary"
    return path.read_text().split() if path.exists() else []


def test_entries_are_made_in_order_once_and_never_again(tmp_path):
    queue = [entry(tmp_path, name) for name in "abc"]
    assert run_queue(queue, tmp_path, 1) == run_queue(queue, tmp_path, 2) == []
    assert diary(tmp_path) == ["a", "b", "c"]


def test_a_failed_entry_is_reported_and_repeated_by_the_next_queue(tmp_path, capsys):
    assert run_queue([entry(tmp_path, "a", code="raise SystemExit(5)"), entry(tmp_path, "b")], tmp_path, 1) == ["a"]
    assert "a: exit 5" in capsys.readouterr().out and diary(tmp_path) == ["b"]
    assert run_queue([entry(tmp_path, "a"), entry(tmp_path, "b")], tmp_path, 1) == []
    assert diary(tmp_path) == ["b", "a"]


def test_an_entry_waits_for_what_it_needs(tmp_path):
    queue = [entry(tmp_path, "second", needs=["first"]), entry(tmp_path, "first")]
    assert run_queue(queue, tmp_path, 2) == []
    assert diary(tmp_path) == ["first", "second"]


def test_what_needs_a_failed_entry_is_left_out_and_said(tmp_path, capsys):
    queue = [
        entry(tmp_path, "first", code="raise SystemExit(1)"),
        entry(tmp_path, "second", needs=["first"]),
        entry(tmp_path, "third", needs=["second"]),
    ]
    assert run_queue(queue, tmp_path, 1) == ["first", "second", "third"]
    assert "second: needs first first" in capsys.readouterr().out and not diary(tmp_path)


def another_process_makes(result, work, name):
    """Let another process hold a lock for a moment and then write the result."""
    code = (
        f"import sys, time; sys.path.insert(0, {str(ACCURACY)!r}); from pathlib import Path; "
        f"from run_queue import lock_of; lock = lock_of(Path({str(work)!r}), {name!r}); lock.acquire('taken'); "
        f"print('locked', flush=True); time.sleep(1); open({str(result)!r}, 'w')"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "locked\n"
    return other


def test_two_runs_that_need_one_dataset_take_turns(tmp_path):
    other = another_process_makes(tmp_path / "dataset", tmp_path, "Dataset001_A")
    assert not (tmp_path / "dataset").exists()
    with taking_turns(tmp_path, "Dataset001_A"):
        assert (tmp_path / "dataset").exists() and other.wait() == 0


def test_an_entry_of_another_queue_is_left_to_it_and_waited_for(tmp_path):
    shared = entry(tmp_path, "shared", code=f"raise SystemExit({IN_PROGRESS})")
    other = another_process_makes(shared.result, tmp_path, "shared")
    assert run_queue([shared, entry(tmp_path, "b", needs=["shared"])], tmp_path, 1) == []
    assert other.wait() == 0 and diary(tmp_path) == ["b"]


@pytest.mark.skipif(os.name != "posix", reason="kills a process group")
def test_what_a_killed_queue_had_begun_is_made_by_the_next_one(tmp_path):
    """Both the queue and its training are killed; the lock file that stays behind must not count."""
    begin = (
        f"import sys, time; sys.path.insert(0, {str(ACCURACY)!r}); from pathlib import Path; "
        f"from run_queue import lock_of; lock = lock_of(Path({str(tmp_path)!r}), 'a'); lock.acquire('taken'); "
        f"open({str(tmp_path / 'begun')!r}, 'w'); time.sleep(60)"
    )
    script = (
        f"import sys; sys.path.insert(0, {str(ACCURACY)!r}); from pathlib import Path; "
        f"from run_queue import Entry, run_queue; "
        f"run_queue([Entry('a', Path({str(tmp_path / 'a.json')!r}), [sys.executable, '-c', {begin!r}])], "
        f"Path({str(tmp_path)!r}), 1)"
    )
    queue = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    wait_until((tmp_path / "begun").exists)
    os.killpg(queue.pid, signal.SIGKILL)
    queue.wait()
    # The training is no child of this process: its end cannot be waited for, but its lock ends with it.
    wait_until(lambda: not queue_module._is_made(tmp_path, "a"))
    assert (tmp_path / "locks" / "a").exists() and not (tmp_path / "a.json").exists()
    again = entry(tmp_path, "a")
    with lock_of(tmp_path, "a") as lock:
        lock.acquire("the lock ended with its process")
    assert run_queue([again], tmp_path, 1) == [] and diary(tmp_path) == ["a"]
