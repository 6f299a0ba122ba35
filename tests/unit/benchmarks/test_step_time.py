"""benchmarks/cost/step_time.py measures what it says it measures."""

import json
import sys
from types import SimpleNamespace

import pytest
import step_time
import workbench
from workbench_data import nnunet_paths_in, tiny_setting


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Return a small setting's folder and plans."""
    work = tmp_path_factory.mktemp("workbench")
    setting = tiny_setting()
    with nnunet_paths_in(work):
        yield SimpleNamespace(work=work, plans=workbench.write_cases(work, setting), setting=setting)


@pytest.mark.parametrize("method", step_time.METHODS)
def test_every_part_that_is_timed_takes_part_in_a_step(small, method):
    trainer = step_time.build(method, small.work, small.plans, "cpu")
    batch = workbench.draw_batch(trainer)
    assert len(batch["data"]) == (4 if method == "nnunet" else 2)
    expected = {part for _, _, part in step_time.parts_of(trainer)}
    assert ("EMA" in expected) == (method != "nnunet") and ("CPS" in expected) == (method == "crln")
    measured = step_time.breakdown(trainer, batch, step_time.clock_of("cpu", "cpu"), repeats=1)
    assert expected <= measured.keys()
    assert step_time.breakdown(trainer, batch, step_time.clock_of("cpu", "cpu"), repeats=1).keys() == measured.keys()


def test_timing_the_parts_leaves_no_trace(small):
    trainer = step_time.build("crln", small.work, small.plans, "cpu")
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in step_time.parts_of(trainer)]
    with step_time.timed_parts(trainer, step_time.PartTimer(step_time.clock_of("cpu", "cpu"))):
        pass
    assert all(getattr(owner, name) == function for owner, name, function in before)


def test_nested_parts_count_once():
    now = iter(range(100))
    timer = step_time.PartTimer(lambda: float(next(now)))
    inner = timer.timed("inner", lambda: None)
    timer.timed("outer", lambda: (inner(), inner()))()  # ticks: 0 [1 2] [3 4] 5
    assert timer.seconds == {"inner": 2.0, "outer": 3.0}


@pytest.mark.slow
def test_the_whole_script_writes_json_and_a_table(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(workbench.SETTINGS, "hippocampus", small.setting)
    arguments = ["step_time.py", "--repeats", "2", "--no-memory", "-o", str(tmp_path / "cpu.json")]
    monkeypatch.setattr(sys, "argv", arguments)
    step_time.main()
    result = json.loads((tmp_path / "cpu.json").read_text())["hippocampus"]
    assert result["patches"] == 4
    assert set(result["seconds"]) == set(step_time.METHODS)
    assert result["ratios"]["crln/nnunet"]["median"] > 1
    assert (tmp_path / "cpu.md").read_text(encoding="utf-8").strip() == capsys.readouterr().out.strip()
