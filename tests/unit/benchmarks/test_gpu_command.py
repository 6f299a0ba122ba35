"""benchmarks/gpu.py: no step ends the others, a second call repeats nothing, and the page tells it all."""

import json
import subprocess
import sys
from pathlib import Path

import gpu
import pytest
from guarded_steps import DONE, FAILED, LEFT_OUT, STOPPED, Step, Steps

from nnunetv2_crln.cli import plan_and_preprocess

SCRIPT = Path(gpu.__file__)


def step(name: str, code: str, share: float = 1.0, **rest) -> Step:
    return Step(name, f"What about {name}?", ["python", "-c", code], share, **rest)


def states(steps: Steps) -> dict[str, str]:
    return {name: record["state"] for name, record in steps.records.items()}


def test_a_failure_and_a_step_without_end_do_not_stop_the_rest(tmp_path):
    result = tmp_path / "good.json"
    listed = [
        step("bad", "raise SystemExit('this is why')"),
        step("missing", ""),
        step("endless", "import time; time.sleep(600)", share=0.25),
        step("good", f"import os; open({str(result)!r}, 'w').write(os.environ['NUMBER'])", result=result,
             environment={"NUMBER": "42"}),
    ]  # fmt: skip
    listed[1] = Step("missing", "?", [str(tmp_path / "no_such_program")], 1.0)
    steps = Steps(tmp_path, minutes=0.4)
    steps.run(listed)
    assert states(steps) == {"bad": FAILED, "missing": FAILED, "endless": STOPPED, "good": DONE}
    page = steps.write_page(listed, "Trial", {"device": "none"}).read_text()
    for text in ("# Trial", "- device: none", "this is why", "What about endless? | out of time", "42"):
        assert text in page


def test_a_second_call_does_what_is_not_done_and_adds_up_the_time(tmp_path):
    runs = tmp_path / "runs"
    code = f"f = open({str(runs)!r}, 'a'); f.write('x'); f.flush(); f.close()"
    listed = [
        step("once", code),
        step("fails first", f"import os; {code}; raise SystemExit(len(open({str(runs)!r}).read()) < 3)"),
    ]
    Steps(tmp_path, minutes=1).run(listed)
    again = Steps(tmp_path, minutes=1)
    before = again.records["fails first"]["seconds"]
    again.run(listed)
    assert states(again) == {"once": DONE, "fails first": DONE}
    assert runs.read_text() == "xxx"
    assert again.records["fails first"]["seconds"] > before


def test_without_time_nothing_is_begun(tmp_path):
    steps = Steps(tmp_path, minutes=0.01)
    steps.run([step("late", "raise SystemExit(1)")])
    assert states(steps) == {"late": LEFT_OUT}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_step_is_a_command_that_exists(tmp_path, device):
    raw = [tmp_path / "Dataset101_LeftAtrium", tmp_path / gpu.GENERATED]
    listed = gpu.measuring_steps(tmp_path, device) + [
        s for path in raw for s in gpu.training_steps(tmp_path, path, device)
    ]
    assert len({s.name for s in listed}) == len(listed)
    for each in listed:
        scripts = [Path(part) for part in each.command if part.endswith(".py") and "tests" not in part]
        assert all(script.is_file() for script in scripts)
    trained = [part for s in listed for part in s.command if part.startswith("nnUNetTrainer")]
    assert trained == ["nnUNetTrainer_CRLN_article", "nnUNetTrainer_CRLN", "nnUNetTrainer_CRLN"]


def test_planning_asks_for_the_papers_protocol_by_its_name(tmp_path):
    heart = plan_and_preprocess.build_parser().parse_args(gpu.planning_arguments(tmp_path / gpu.GENERATED))
    assert (heart.d, heart.article) == ([999], None)
    atrium = plan_and_preprocess.build_parser().parse_args(gpu.planning_arguments(tmp_path / "Dataset101_LeftAtrium"))
    assert (atrium.d, atrium.article) == ([101], "left_atrium")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_script_takes_the_arguments_of_its_step(tmp_path, device):
    for each in gpu.measuring_steps(tmp_path, device):
        if each.command[1].endswith(".py"):
            # Only an unknown option lets a script parse all of its arguments and end without work.
            asked = subprocess.run(
                [sys.executable, *each.command[1:], "--no_such_option"], capture_output=True, text=True
            )
            assert asked.returncode == 2
            assert asked.stderr.strip().endswith("unrecognized arguments: --no_such_option"), asked.stderr


def test_a_small_share_does_not_cut_a_step_short(tmp_path):
    steps = Steps(tmp_path, minutes=1, least=30)
    steps.run([step("slow start", "import time; time.sleep(1)", share=0.001)])
    assert states(steps) == {"slow start": DONE}


def test_an_unknown_step_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        gpu.main(["--device", "cpu", "--out", str(tmp_path), "--steps", "step_tme"])
    assert "step_tme: expected some of doctor, step_sync, step_time" in capsys.readouterr().err


@pytest.mark.slow
def test_steps_on_a_cpu_end_and_are_on_the_page(tmp_path):
    command = [sys.executable, SCRIPT, "--device", "cpu", "--minutes", "40", "--out", tmp_path]
    done = subprocess.run([*command, "--steps", "step_sync", "dim_scaling"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "README.md").read_text()
    records = json.loads((tmp_path / "steps.json").read_text())
    assert {name: record["state"] for name, record in records.items()} == {"step_sync": DONE, "dim_scaling": DONE}, page
    assert "A trial on the CPU" in page
    for name in records:
        assert json.loads((tmp_path / f"{name}.json").read_text())
