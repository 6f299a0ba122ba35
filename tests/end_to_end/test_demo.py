"""The demo: every command of the workflow, from raw data to the report, as a user's shell would run them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nnunetv2_crln.demo.pipeline import BASELINE, METHOD, Demo, DemoSettings
from nnunetv2_crln.utilities.commands import find_command

MARGIN = 0.02  # Dice by which CRLN beats supervised-only training in the full demo; README states it


def run_demo(folder: Path) -> subprocess.CompletedProcess:
    program = find_command("nnUNetv2_crln_demo")
    assert program, "install the package first: pip install -e ."
    arguments = ["--labelled", "2", "--unlabelled", "3", "--test", "2", "--epochs", "1"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("nnUNet")}
    command = [program, "-o", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, cwd=folder.parent)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_every_command_runs_and_a_second_call_shows_the_result_again(tmp_path):
    first = run_demo(tmp_path / "demo")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "already done" not in first.stdout
    table = first.stdout[first.stdout.index("Dice [%]") :]
    assert all(name in table for name in (BASELINE, METHOD, "left ventricle", "myocardium", "right ventricle", "mean"))
    assert (tmp_path / "demo" / f"report_{METHOD}.html").stat().st_size > 10_000

    started = time.perf_counter()
    second = run_demo(tmp_path / "demo")
    assert second.returncode == 0, second.stderr
    assert second.stdout.endswith(table)
    assert time.perf_counter() - started < 20


@pytest.mark.skipif("DEMO_OUTPUT" not in os.environ, reason="DEMO_OUTPUT names no finished demo (CI runs one)")
def test_crln_beats_supervised_training_in_the_full_demo():
    demo = Demo(os.environ["DEMO_OUTPUT"], DemoSettings())
    baseline, method = (demo.summary(trainer)["foreground_mean"]["Dice"]["mean"] for trainer in (BASELINE, METHOD))
    assert method > baseline + MARGIN
