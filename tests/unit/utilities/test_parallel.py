"""Parallel runs: results, errors and dying processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import is_running, wait_until

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.utilities.parallel import run_parallel

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the loaders of nnU-Net fork on Linux alone")


def halve(value):
    """Fails for odd numbers."""
    if value % 2:
        raise ValueError(f"{value} is odd")
    return value // 2


def fail_without_text(_):
    """Fail without a message, as some of nnU-Net's readers do."""
    raise RuntimeError()


def wait_for_ever(pid_file):
    """Tells its process id and stays."""
    Path(pid_file).write_text(str(os.getpid()))
    time.sleep(600)


def die(_):
    """Die like a process that the operating system kills."""
    os._exit(9)


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_one_bad_item_does_not_lose_the_others(processes):
    outcomes = {o.name: o for o in run_parallel(halve, {"a": [2], "b": [3], "c": [8]}, processes, "", False)}
    assert (outcomes["a"].value, outcomes["c"].value) == (1, 4)
    assert outcomes["b"].error == "ValueError: 3 is odd"


def test_nothing_to_do():
    assert list(run_parallel(halve, {}, 4, "", False)) == []


def test_error_without_text_tells_where():
    (outcome,) = run_parallel(fail_without_text, {"a": [1]}, 1, "", False)
    assert "RuntimeError in" in outcome.error and "test_parallel.py" in outcome.error


@pytest.mark.slow
@pytest.mark.parametrize("kept", [False, True])
def test_dying_process_is_noticed(kept):
    with pytest.raises(UserError, match=r"process died after 0 of 2 cases.*memory.*-np") as caught:
        list(run_parallel(die, {"a": [1], "b": [2]}, 2, "", False, kept))
    assert ("Finished cases are kept" in str(caught.value)) == kept


IN_A_POOL = """
from nnunetv2_crln.utilities.parallel import run_parallel
if __name__ == "__main__":
    list(run_parallel(wait_for_ever, {f: [f] for f in sys.argv[1:]}, 2, "", False))
"""
FORKED = """
import multiprocessing
from nnunetv2_crln.utilities.parallel import end_forks_with_this_process
class Owner: pass
owner = Owner()
end_forks_with_this_process(owner)
for file in sys.argv[1:]:
    multiprocessing.get_context("fork").Process(target=wait_for_ever, args=(file,), daemon=True).start()
wait_for_ever(sys.argv[1] + "_of_the_parent")
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="kills a process")
@pytest.mark.parametrize("code", [IN_A_POOL, pytest.param(FORKED, marks=ON_LINUX)], ids=["in a pool", "forked"])
def test_killed_command_leaves_no_process_behind(tmp_path, code):
    files = [tmp_path / "a", tmp_path / "b"]
    script = tmp_path / "script.py"
    places = f"import sys\nsys.path[:0] = {[str(Path(__file__).parents[n]) for n in (0, 2)]}\n"
    script.write_text(f"{places}from test_parallel import wait_for_ever\n{code}")
    process = subprocess.Popen([sys.executable, str(script), *map(str, files)])
    wait_until(lambda: all(file.is_file() and file.read_text(encoding="utf-8") for file in files))
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(is_running(int(file.read_text(encoding="utf-8"))) for file in files))
