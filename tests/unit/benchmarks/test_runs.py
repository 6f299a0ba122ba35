"""The queue that benchmarks of whole trainings share."""

import sys

import pytest
import runs
from runs import Run, run_queue


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(runs.time, "sleep", lambda _: None)


def entry(folder, name, code=None, needs=None):
    """Make a run that appends its name to a diary and writes its result."""
    result = folder / f"{name}.json"
    code = code or f"open({str(folder / 'diary')!r}, 'a').write('{name} '); open({str(result)!r}, 'w')"
    return Run(name, result, [sys.executable, "-c", code], needs)


def diary(folder):
    path = folder / "diary"
    return path.read_text().split() if path.exists() else []


def test_runs_are_started_in_order_once_and_never_again(tmp_path):
    queue = [entry(tmp_path, name) for name in "abc"]
    run_queue(queue, tmp_path, 1)
    run_queue(queue, tmp_path, 2)
    assert diary(tmp_path) == ["a", "b", "c"]
    assert not list((tmp_path / "locks").iterdir())


def test_a_run_of_another_queue_is_left_to_it(tmp_path):
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "a").touch()
    run_queue([entry(tmp_path, "a"), entry(tmp_path, "b")], tmp_path, 2)
    assert diary(tmp_path) == ["b"]


def test_a_failed_run_is_reported_and_repeated_by_the_next_queue(tmp_path, capsys):
    run_queue([entry(tmp_path, "a", code="raise SystemExit(3)"), entry(tmp_path, "b")], tmp_path, 1)
    assert "a: exit 3" in capsys.readouterr().out and diary(tmp_path) == ["b"]
    run_queue([entry(tmp_path, "a"), entry(tmp_path, "b")], tmp_path, 1)
    assert diary(tmp_path) == ["b", "a"]


def test_a_run_waits_for_what_it_needs(tmp_path):
    first = entry(tmp_path, "first")
    run_queue([entry(tmp_path, "second", needs=first), first], tmp_path, 1)
    assert diary(tmp_path) == ["first", "second"]


def test_a_run_whose_need_nobody_meets_is_left_out(tmp_path, capsys):
    run_queue([entry(tmp_path, "second", needs=entry(tmp_path, "first"))], tmp_path, 1)
    assert "second: needs first first" in capsys.readouterr().out and not diary(tmp_path)
