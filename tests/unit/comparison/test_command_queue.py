"""Commands run as a user would: logged, skipped once done, stopped with their workers."""

import os
import signal
import stat
import subprocess
import sys
import time

import pytest
from commands import is_running, wait_until

from nnunetv2_crln.comparison import command_queue
from nnunetv2_crln.comparison.command_queue import QueuedCommand, find_command, run_queue
from nnunetv2_crln.errors import UserError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the commands of these tests are shell scripts")


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Factory of console scripts on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)

    def write(name: str, text: str) -> str:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return name

    return write


def command(tmp_path, *arguments: str, result=None) -> QueuedCommand:
    return QueuedCommand("a step", arguments, tmp_path / "logs" / "step.log", result or tmp_path / "result")


def test_output_goes_to_the_log_and_variables_arrive(script, tmp_path, capsys):
    name = script("greet", 'echo "hello $1 from $WHERE"; touch "$2"')
    run_queue([command(tmp_path, name, "you", str(tmp_path / "result"))], [{"WHERE": "here"}])
    assert "hello you from here" in (tmp_path / "logs" / "step.log").read_text(encoding="utf-8")
    assert "$ greet you" in capsys.readouterr().out


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device without space")
def test_a_full_disk_of_the_log_stops_no_training(script, tmp_path, capsys):
    name = script("talk", 'for i in $(seq 20000); do echo "line $i of many"; done; touch "$1"')
    queued = command(tmp_path, name, str(tmp_path / "result"))
    queued.log.parent.mkdir()
    queued.log.symlink_to("/dev/full")
    run_queue([queued], [{}])
    assert (tmp_path / "result").exists() and queued.last_lines[-1] == "line 20000 of many\n"
    assert "step.log cannot be written (No space left on device); a step goes on" in capsys.readouterr().out


def test_a_log_gets_progress_now_and_then(script, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command_queue, "_SECONDS_BETWEEN_LINES", 0.5)
    line = "Epoch 1 of 2: pseudo Dice 0.5 (0.5), 1 s, 1 s left, until 09:30"
    name = script("train", f'echo "{line}"; sleep 1.5; touch "{tmp_path}/result"')
    run_queue([command(tmp_path, name)], [{}])
    assert "  a step: epoch 1 of 2, pseudo Dice 0.5, 1 s left\n" in capsys.readouterr().out


def test_the_estimate_reaches_a_log_at_once(script, tmp_path, capsys):
    name = script("train", f'echo "About 9 s for 2 epochs, until 9:30 (1 s"; sleep 1; touch "{tmp_path}/result"')
    run_queue([command(tmp_path, name)], [{}])
    assert capsys.readouterr().out.count("  a step: about 9 s for 2 epochs, until 9:30\n") == 1


def test_what_is_done_is_skipped_until_its_result_is_removed(script, tmp_path):
    name = script("count", f'echo x >> "{tmp_path}/counter"; touch "{tmp_path}/result"')
    for _ in range(2):
        run_queue([command(tmp_path, name)], [{}])
    assert (tmp_path / "counter").read_text(encoding="utf-8") == "x\n"
    (tmp_path / "result").unlink()
    run_queue([command(tmp_path, name)], [{}])
    assert (tmp_path / "counter").read_text(encoding="utf-8") == "x\nx\n"


def test_a_failure_shows_the_last_lines_and_is_not_done(script, tmp_path):
    name = script("fail", f'touch "{tmp_path}/result"; echo "disk is full" >&2; exit 3')
    step = command(tmp_path, name)
    with pytest.raises(UserError, match=r"status 3(.|\n)*disk is full(.|\n)*step\.log"):
        run_queue([step], [{}])
    assert not step.is_done()


def test_a_missing_command_says_how_to_install(tmp_path):
    with pytest.raises(UserError, match="no_such_command_anywhere was found neither"):
        run_queue([command(tmp_path, "no_such_command_anywhere")], [{}])


@pytest.mark.slow
def test_a_failure_stops_the_others(script, tmp_path):
    slow = script("slow", "exec sleep 60")
    fail = script("fail", "sleep 0.3; exit 1")
    started = time.perf_counter()
    with pytest.raises(UserError, match="fail failed"):
        run_queue([command(tmp_path, slow), QueuedCommand("other", [fail], tmp_path / "other.log", tmp_path)], [{}, {}])
    assert time.perf_counter() - started < 30


def test_a_queue_runs_one_command_in_each_place_at_a_time(script, tmp_path):
    name = script("work", f'echo "+ $PLACE" >> "{tmp_path}/all"; sleep 0.3; echo "- $PLACE" >> "{tmp_path}/all"')
    steps = [QueuedCommand(f"step {i}", [name], tmp_path / f"{i}.log", tmp_path / "all") for i in range(4)]
    run_queue(steps, [{"PLACE": "a"}, {"PLACE": "b"}])
    lines = (tmp_path / "all").read_text(encoding="utf-8").splitlines()
    for place in "ab":
        own = [line[0] for line in lines if line.endswith(place)]
        assert own == ["+", "-"] * (len(own) // 2)
    assert len(lines) == 8 and {line[-1] for line in lines} == {"a", "b"}


def test_commands_of_this_environment_come_first():
    assert find_command(os.path.basename(sys.executable)) == sys.executable


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_or_a_kill_ends_the_command_and_its_workers(script, tmp_path, sent):
    name = script("parent", f'sleep 60 & echo $! > "{tmp_path}/worker"; wait')
    program = (
        "import signal; from pathlib import Path\n"
        "from nnunetv2_crln.comparison.command_queue import QueuedCommand, run_queue\n"
        # What a shell starts in the background inherits that interrupts are ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"folder = Path({str(tmp_path)!r})\n"
        f"run_queue([QueuedCommand('a step', [{name!r}], folder / 'log', folder)], [{{}}])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    worker = tmp_path / "worker"
    wait_until(lambda: worker.is_file() and worker.read_text(encoding="utf-8").strip() and (tmp_path / "log").is_file())
    process.send_signal(sent)
    assert process.wait(60) != 0
    wait_until(lambda: not is_running(int(worker.read_text(encoding="utf-8"))))
