"""Run trainings in processes of their own, several at a time; the queue may be killed and started again."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.utilities.locking import FolderLock

IN_PROGRESS = 3
"""Exit code of an entry that another process is making."""
_SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True)
class Entry:
    """One entry of a queue.

    Attributes:
        name: Name of its lock and log.
        result: File that it writes at its end; an entry that has it is never repeated.
        command: Makes it. It must hold :func:`lock_of` while it works and exit with ``IN_PROGRESS`` if it is taken.
        needs: Names of entries of the queue without whose results this one cannot start.
    """

    name: str
    result: Path
    command: Sequence[str]
    needs: Sequence[str] = field(default_factory=tuple)


def lock_of(work: Path, name: str) -> FolderLock:
    """Return the lock of an entry. It is held by the process at work, so that it ends with it, even by ``kill -9``."""
    (work / "locks").mkdir(parents=True, exist_ok=True)
    return FolderLock(work / "locks" / name)


@contextlib.contextmanager
def taking_turns(work: Path, name: str) -> Iterator[None]:
    """Hold the lock of something that several runs need, perhaps at once: wait while another one makes it."""
    with lock_of(work, name) as lock:
        while True:
            try:
                lock.acquire(f"another run makes {name}")
                break
            except UserError:
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        yield


def run_queue(queue: Sequence[Entry], work: Path, jobs: int) -> list[str]:
    """Make every missing entry in its own process, ``jobs`` at a time, on one thread each.

    Several queues may work over the same folder: an entry that another one is making is waited for only by the entries
    that need it.

    Args:
        queue: Entries in the order to start them.
        work: Folder for locks and logs.
        jobs: How many at a time.

    Returns:
        Names of the entries that failed, and of those that needed them.
    """
    results = {entry.name: entry.result for entry in queue}
    waiting, failed, elsewhere = list(queue), [], set()
    running: dict[subprocess.Popen, Entry] = {}
    while waiting or running:
        for process, entry in list(running.items()):
            if process.poll() is None:
                continue
            del running[process]
            if process.returncode == IN_PROGRESS:
                elsewhere.add(entry.name)
            elif process.returncode:
                failed.append(entry.name)
            print(f"{time.strftime('%H:%M:%S')} {entry.name}: exit {process.returncode}", flush=True)
        for entry in list(waiting):
            if len(running) >= jobs:
                break
            missing = [name for name in entry.needs if not results[name].exists()]
            lost = [
                name
                for name in missing
                # A process that made it may have ended since the first look.
                if name in failed or (name in elsewhere and not _is_made(work, name) and not results[name].exists())
            ]
            if entry.result.exists() or lost:
                waiting.remove(entry)
                if lost and not entry.result.exists():
                    failed.append(entry.name)
                    print(f"{entry.name}: needs {', '.join(lost)} first", flush=True)
            elif not missing:
                waiting.remove(entry)
                running[_start(entry, work)] = entry
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return failed


def _is_made(work: Path, name: str) -> bool:
    """Check whether a process is making an entry."""
    try:
        with lock_of(work, name) as lock:
            lock.acquire(name)
    except UserError:
        return True
    return False


def _start(entry: Entry, work: Path) -> subprocess.Popen:
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    log = work / "logs" / f"{entry.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        return subprocess.Popen(
            list(entry.command), stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **threads}
        )
