"""Run commands as a user would, with their output in log files, and stop them cleanly."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nnunetv2_crln.errors import UserError

_SECONDS_TO_STOP = 10
_SECONDS_TO_READ = 5  # a worker left behind may keep the pipe open
_EPOCH = re.compile(r"Epoch (\d+)\s*$")


def find_command(name: str) -> str | None:
    """Find a console script in this Python's environment, activated or not, or else on PATH."""
    beside = shutil.which(name, path=str(Path(sys.executable).parent))
    return beside or shutil.which(name)


@dataclass(eq=False)
class Command:
    """One command of the workflow.

    Attributes:
        title: A few words for the user.
        arguments: Command line that begins with the name of a console script.
        log: File for its output. A file with the ending ``.done`` beside it means that the command has succeeded.
        result: File or folder that it makes.
        epochs: Number of epochs, for a training command.
    """

    title: str
    arguments: Sequence[str]
    log: Path
    result: Path
    epochs: int = 0
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=15))
    epoch: int = -1
    reader: threading.Thread | None = None

    @property
    def _mark(self) -> Path:
        return self.log.with_suffix(".done")

    def is_done(self) -> bool:
        """Check whether the command has succeeded and its result still exists."""
        return self._mark.is_file() and self.result.exists()

    def mark_done(self) -> None:
        """Record that the command has succeeded."""
        self._mark.touch()


def run_together(commands: Sequence[Command], environment: Mapping[str, str]) -> None:
    """Run commands side by side until all have ended; skip those whose result exists.

    Args:
        commands: Commands that do not depend on each other.
        environment: Variables in addition to those of this process.

    Raises:
        UserError: A command is missing or failed; the others are stopped.
    """
    run_queue(commands, [environment] * len(commands))


def run_queue(commands: Sequence[Command], places: Sequence[Mapping[str, str]]) -> None:
    """Run commands in their order, at most one in each place at a time; those whose result is there are skipped.

    Args:
        commands: Commands that do not depend on each other.
        places: Where commands may run, such as one for each GPU: variables on top of those of this process.

    Raises:
        UserError: A command is missing or failed; the others were stopped.
    """
    started = time.perf_counter()
    running: dict[subprocess.Popen, tuple[Command, Mapping[str, str]]] = {}
    waiting, free = deque(commands), deque(places)
    try:
        while waiting or running:
            while waiting and free:
                command = waiting.popleft()
                print(f"\n$ {shlex.join(command.arguments)}", flush=True)
                if command.is_done():
                    print(f"  {command.title}: already done")
                    continue
                place = free.popleft()
                process = _start(command, place)
                running[process] = command, place  # before anything else: what is listed here is stopped
                command.reader = threading.Thread(target=_keep_output, args=(process, command), daemon=True)
                command.reader.start()
            free.extend(_collect_ended(running, started))
            if running:
                _show_progress([command for command, _ in running.values()], started)
                time.sleep(0.2)
    finally:
        _stop(list(running))


def _start(command: Command, environment: Mapping[str, str]) -> subprocess.Popen:
    program = find_command(command.arguments[0])
    if program is None:
        raise UserError(
            f"Command {command.arguments[0]} was found neither beside {sys.executable} nor on PATH. "
            "Install this package into the environment you use: pip install nnunetv2_crln, or make install."
        )
    command.log.parent.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [program, *command.arguments[1:]],
        env={**os.environ, **environment, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        # Its own process group, so that stopping reaches nnU-Net's workers as well.
        start_new_session=os.name == "posix",
    )


def _keep_output(process: subprocess.Popen, command: Command) -> None:
    """Copy a command's output into its log, noting the epoch it is in."""
    assert process.stdout is not None
    with open(command.log, "w", encoding="utf-8") as log:
        log.write(f"$ {shlex.join(command.arguments)}\n")
        for line in process.stdout:
            log.write(line)
            log.flush()
            command.last_lines.append(line)
            if match := _EPOCH.search(line):
                command.epoch = int(match[1])


def _collect_ended(
    running: dict[subprocess.Popen, tuple[Command, Mapping[str, str]]], started: float
) -> list[Mapping[str, str]]:
    """Take the commands that have ended out of ``running``.

    Returns:
        The places that are free again.

    Raises:
        UserError: A command failed.
    """
    free = []
    for process, (command, place) in list(running.items()):
        status = process.poll()
        if status is None:
            continue
        if command.reader is not None:
            command.reader.join(_SECONDS_TO_READ)
        _clear_line()
        del running[process]
        if status:
            raise UserError(
                f"{command.arguments[0]} failed with status {status}. Its last lines:\n\n"
                f"{''.join(command.last_lines)}\nAll of them: {command.log}"
            )
        command.mark_done()
        print(f"  {command.title}: {time.perf_counter() - started:.0f} s", flush=True)
        free.append(place)
    return free


def _show_progress(commands: Sequence[Command], started: float) -> None:
    if not sys.stdout.isatty():
        return
    line = f"  {', '.join(_state(command) for command in commands)} … {time.perf_counter() - started:.0f} s"
    print("\r" + line[: shutil.get_terminal_size().columns - 1] + "\033[K", end="", flush=True)


def _state(command: Command) -> str:
    if not command.epochs or command.epoch < 0:
        return command.title
    return f"{command.title} (epoch {command.epoch + 1} of {command.epochs})"


def _clear_line() -> None:
    if sys.stdout.isatty():
        print("\r\033[K", end="")


def _stop(processes: Sequence[subprocess.Popen]) -> None:
    """End commands and their workers: politely, then firmly."""
    for ask in ("SIGINT", "SIGTERM", "SIGKILL"):
        for process in processes:
            _signal(process, ask)
        end = time.perf_counter() + _SECONDS_TO_STOP
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, end - time.perf_counter()))


def _signal(process: subprocess.Popen, name: str) -> None:
    if os.name != "posix":
        process.terminate()
        return
    with contextlib.suppress(ProcessLookupError):  # the whole group has ended
        os.killpg(process.pid, getattr(signal, name))
