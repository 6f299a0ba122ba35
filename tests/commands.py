"""Run commands and scripts as a user does, one worker and one thread each."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

FOLDERS = ("raw", "preprocessed", "results")
TRAINERS = str(Path(__file__).parents[1] / "nnunetv2_crln" / "nnunet_trainers")
"""What nnUNet_extTrainer names."""
TIMEOUT = 1500  # seconds, for a training beside other tests


def environment_of(folders: Path, **variables: str) -> dict[str, str]:
    """Return the variables of a process whose nnU-Net folders lie inside of ``folders``, where they are made."""
    for name in FOLDERS:
        (folders / name).mkdir(parents=True, exist_ok=True)
    return {
        **os.environ,
        **{f"nnUNet_{name}": str(folders / name) for name in FOLDERS},
        "nnUNet_n_proc_DA": "1",
        "nnUNet_def_n_proc": "1",
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
        **variables,
    }


def run(command: list, folders: Path, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess:
    """Run a command in that environment; it need not end well."""
    return subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env=environment_of(folders, **variables),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=TIMEOUT,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def output_of(done: subprocess.CompletedProcess) -> str:
    """Return what a command has printed; it must have ended well."""
    assert done.returncode == 0, f"{done.args}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


@contextlib.contextmanager
def locked_by_another_process(path: Path) -> Iterator[None]:
    """Hold a lock file in a process of its own within the ``with`` block."""
    code = "import sys; from nnunetv2_crln.utilities.locking import FolderLock as L; L(sys.argv[1]).acquire(''); "
    code += "print('held', flush=True); sys.stdin.read()"
    arguments = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline().strip() == b"held"
        yield


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until a condition holds, and fail if it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Return whether a process runs; an ended one whose status nobody has asked for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, encoding="utf-8"
    ).stdout
    return not state.strip().startswith("Z")
