"""Trains in forked processes that are killed: torch and nnU-Net, seconds of start-up, are imported once for all.

Usage: python killable_training.py FOLDER, with a job.json in FOLDER (see :func:`main`). Every attempt is a process of
its own that does what ``nnUNetv2_train ... --c`` does and is killed, at a named moment or after some processor time.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
import uuid
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from nnunetv2.run.run_training import get_trainer_from_args, maybe_load_checkpoint
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

from nnunetv2_crln.training import checkpoint as checkpoints
from nnunetv2_crln.training.method.crln import CRLN
from nnunetv2_crln.training.trainer import nnUNetTrainer_CRLN

TICK = os.sysconf("SC_CLK_TCK")


def kill_me() -> None:
    """Do what kill -9 does: no exception, no clean-up."""
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner, name: str, action) -> None:
    """Call ``action(*arguments)`` before each call of ``owner.name``."""
    original = getattr(owner, name)

    def wrapped(*arguments, **keywords):
        action(*arguments, **keywords)
        return original(*arguments, **keywords)

    setattr(owner, name, wrapped)


def after(owner, name: str, action) -> None:
    """Call ``action(*arguments)`` after each call of ``owner.name``."""
    original = getattr(owner, name)

    def wrapped(*arguments, **keywords):
        result = original(*arguments, **keywords)
        action(*arguments, **keywords)
        return result

    setattr(owner, name, wrapped)


def when_saving(checkpoint_name: str, action) -> None:
    """Call ``action()`` before that checkpoint is saved."""
    before(
        checkpoints, "save", lambda _content, path, **_: action() if os.path.basename(path) == checkpoint_name else None
    )


def within_saving(checkpoint_name: str, owner, name: str) -> None:
    """Die after the first call of ``owner.name`` while that checkpoint is saved."""
    when_saving(checkpoint_name, lambda: after(owner, name, lambda *_: kill_me()))


def half_written(checkpoint_name: str) -> None:
    """Die with half of the file on the disk."""
    save = torch.save

    def write_half(content, file):
        save(content, file)
        file.flush()
        os.ftruncate(file.fileno(), file.tell() // 2)
        kill_me()

    when_saving(checkpoint_name, lambda: setattr(torch, "save", write_half))


def full_disk(folder: Path) -> None:
    """Put a device without space in place of the temporary file."""

    def fill() -> None:
        uuid.uuid4 = lambda: SimpleNamespace(hex="0123456789")
        (folder / f".01234567_{LATEST}").symlink_to("/dev/full")

    when_saving(LATEST, fill)


LATEST = "checkpoint_latest.pth"
MOMENTS = {
    "before the first step": lambda _: before(nnUNetTrainer_CRLN, "train_step", lambda *_: kill_me()),
    "in a step, weights updated, teacher not": lambda _: before(CRLN, "after_gradient_step", lambda *_: kill_me()),
    "in the validation of an epoch": lambda _: before(nnUNetTrainer_CRLN, "validation_step", lambda *_: kill_me()),
    "at the end of an epoch": lambda _: before(nnUNetTrainer_CRLN, "on_epoch_end", lambda *_: kill_me()),
    "best saved, latest not": lambda _: when_saving(LATEST, kill_me),
    "latest half written": lambda _: half_written(LATEST),
    "best half written": lambda _: half_written("checkpoint_best.pth"),
    "latest on the disk under its temporary name": lambda _: within_saving(LATEST, os, "fsync"),
    "latest has two names": lambda _: within_saving(LATEST, os, "link"),
    "latest in place": lambda _: after(
        checkpoints, "save", lambda _content, path, **_: kill_me() if os.path.basename(path) == LATEST else None
    ),
    "final half written": lambda _: half_written("checkpoint_final.pth"),
    "final in place, latest not removed": lambda _: before(
        os, "remove", lambda path: kill_me() if os.path.basename(path) == LATEST else None
    ),
    "full disk": full_disk,
}


def train(job: dict, results: str, workers: int, moment: str | None) -> None:
    """One training to its end, as ``nnUNetv2_train ... --c`` runs it."""
    os.environ.update(nnUNet_results=results, nnUNet_n_proc_DA=str(workers))
    torch.set_num_threads(1)
    trainer = get_trainer_from_args(
        job["dataset"], "3d_fullres", "all", job["trainer"], job["plans"], True, torch.device("cpu")
    )
    # Pictures have no part in this and cost more than the training.
    trainer.logger.plot_progress_png = lambda *_: None
    trainer.plot_network_architecture = lambda: None
    events = Path(results) / "events.txt"

    def note(text: str) -> None:
        with events.open("a") as file:
            file.write(f"{text}\n")

    if moment:
        MOMENTS[moment](Path(trainer.output_folder))
    after(trainer, "on_epoch_end", lambda: note(f"finished {trainer.current_epoch}"))
    maybe_load_checkpoint(trainer, True, False)
    note(f"start {trainer.current_epoch}")
    trainer.run_training()
    note("end")


def processor_time(pid: int) -> float:
    """Seconds of processor time of a running process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def attempt(job: dict, results: str, workers: int, moment: str | None = None, budget: float | None = None) -> dict:
    """Train in a new process and session; kill it after ``budget`` seconds of its processor time."""
    log = Path(results) / "log.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    pid = os.fork()
    if pid == 0:
        code = 1
        os.setsid()
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        try:
            train(job, results, workers, moment)
            code = 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        # Daemons do not end by themselves here, where the interpreter's own end is left out.
        os._exit(code)
    ended = 0
    while budget is not None and not ended and processor_time(pid) < budget:
        time.sleep(0.005)
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    if budget is not None and not ended:
        os.kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    return {
        "moment": moment or (f"after {budget:.2f} s" if budget is not None else "none"),
        "code": os.waitstatus_to_exitcode(status),
        "seconds": usage.ru_utime + usage.ru_stime,
        "workers_left": workers_left(pid),
    }


def workers_left(session: int, patience_s: float = 20) -> int:
    """Processes of an ended session that are still there after some seconds."""
    end = time.monotonic() + patience_s
    while True:
        alive = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, _, its_session = stat.read_text().rpartition(")")[2].split()[:4]
            except OSError:
                continue
            alive += int(its_session) == session and state != "Z"
        if not alive or time.monotonic() > end:
            return alive
        time.sleep(0.05)


def main(folder: Path) -> None:
    """Read job.json: ``dataset``, ``trainer``, ``plans``, ``moments`` and ``random`` (numbers of kills), ``seed``.

    Writes result.json: the attempts in their order, and the uninterrupted training's seconds.
    """
    job = json.loads((folder / "job.json").read_text())
    recursive_find_trainer_class_by_name(job["trainer"])  # imports all that nnU-Net searches, before the forks
    whole = attempt(job, str(folder / "whole"), workers=0)
    rng = random.Random(job["seed"])
    # The first epoch's network is the best so far; a later one need not be.
    first = ["before the first step", "best half written"]
    last = ["final half written", "final in place, latest not removed"]
    plan: list[tuple[str | None, float | None]] = [(name, None) for name in MOMENTS if name not in (*first, *last)]
    plan += [(None, rng.uniform(0.03, 0.2) * whole["seconds"]) for _ in range(job["random"])]
    rng.shuffle(plan)
    plan = [*((name, None) for name in first), *plan, *((name, None) for name in last), (None, None)]
    attempts = [
        attempt(job, str(folder / "parts"), workers=number % 3, moment=moment, budget=budget)
        for number, (moment, budget) in enumerate(plan)
    ]
    (folder / "result.json").write_text(json.dumps({"whole": whole, "attempts": attempts}))


if __name__ == "__main__":
    np.seterr(all="ignore")
    main(Path(sys.argv[1]))
