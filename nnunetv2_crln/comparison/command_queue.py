"""Run commands as a user would, with their output in log files, and stop them cleanly."""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nnunetv2_crln.comparison.training_progress import progress_of
from nnunetv2_crln.errors import UserError

_SECONDS_TO_STOP = 10
_SECONDS_TO_READ = 5  # a worker left behind may keep the pipe open
_SECONDS_BETWEEN_LINES = 60  # of a log, where progress cannot be shown in place


def find_command(name: str) -> str | None:
    """Find a console script in this Python's environment, activated or not, or else on PATH."""
    beside = shutil.which(name, path=str(Path(sys.executable).parent))
    return beside or shutil.which(name)


@dataclass(eq=False)
class QueuedCommand:
    """One command of the workflow.

    Attributes:
        title: A few words for the user.
        arguments: Command line that begins with the name of a console script.
        log: File for its output. A file with the ending ``.done`` beside it means that the command has succeeded.
        result: File or folder that it makes.
        epochs: Number of epochs, for a training command.
        environment: Variables of this command alone, on top of those of its place.
    """

    title: str
    arguments: Sequence[str]
    log: Path
    result: Path
    epochs: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=15))
    progress: str = ""
    reader: threading.Thread | None = None

    @property
    def _mark(self) -> Path:
        return self.log.with_suffix(".done")

    def hear(self, line: str) -> None:
        """Note a line of the command's output."""
        self.last_lines.append(line)
        self.progress = progress_of(line, self.epochs) or self.progress

    def is_done(self) -> bool:
        """Check whether the command has succeeded and its result still exists."""
        return self._mark.is_file() and self.result.exists()

    def mark_done(self) -> None:
        """Record that the command has succeeded."""
        self._mark.touch()


def run_queue(commands: Sequence[QueuedCommand], places: Sequence[Mapping[str, str]]) -> None:
    """Run commands in their order, at most one in each place at a time; those whose result is there are skipped.

    Args:
        commands: Commands that do not depend on each other.
        places: Where commands may run, such as one for each GPU: variables on top of those of this process.

    Raises:
        UserError: A command is missing or failed; the others were stopped.
    """
    with _stopped_by_signals():
        _run_all(deque(commands), deque(places))


def _run_all(waiting: deque[QueuedCommand], free: deque[Mapping[str, str]]) -> None:
    progress = _Progress()
    running: dict[subprocess.Popen, tuple[QueuedCommand, Mapping[str, str]]] = {}
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
            free.extend(_collect_ended(running, progress.started))
            if running:
                progress.show([command for command, _ in running.values()])
                time.sleep(0.2)
    finally:
        _stop(list(running))


def _start(command: QueuedCommand, environment: Mapping[str, str]) -> subprocess.Popen:
    program = find_command(command.arguments[0])
    if program is None:
        raise UserError(
            f"Command {command.arguments[0]} was found neither beside {sys.executable} nor on PATH. "
            "Install this package into the environment you use (in its repository: pip install .)."
        )
    command.log.parent.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [program, *command.arguments[1:]],
        env={**os.environ, **environment, **command.environment, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        # Its own process group, so that stopping reaches nnU-Net's workers as well.
        start_new_session=os.name == "posix",
    )


def _keep_output(process: subprocess.Popen, command: QueuedCommand) -> None:
    """Copy a command's output into its log, noting how far it is."""
    assert process.stdout is not None
    try:
        with open(command.log, "w", encoding="utf-8") as log:
            log.write(f"$ {shlex.join(command.arguments)}\n")
            for line in process.stdout:
                command.hear(line)
                log.write(line)
                log.flush()
    except OSError as error:
        print(f"WARNING: {command.log} cannot be written ({error.strerror}); {command.title} goes on.", flush=True)
    for line in process.stdout:  # a command whose output nobody reads would wait for ever
        command.hear(line)


def _collect_ended(
    running: dict[subprocess.Popen, tuple[QueuedCommand, Mapping[str, str]]], started: float
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
        _clear_progress()
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


class _Progress:
    """Show running commands: in place on a terminal, or in a log one line per command each minute.

    A log also gets the first progress of a command as soon as there is any.
    """

    def __init__(self) -> None:
        self.started = self.shown = time.perf_counter()
        self.heard: set[QueuedCommand] = set()

    def show(self, commands: Sequence[QueuedCommand]) -> None:
        now = time.perf_counter()
        told = [(command, command.progress) for command in commands]  # another thread changes it
        lines = [f"  {command.title}: {progress or f'{now - self.started:.0f} s'}" for command, progress in told]
        if sys.stdout.isatty():
            columns = shutil.get_terminal_size().columns - 1
            up = f"\033[{len(lines) - 1}A" if len(lines) > 1 else ""
            print("\r" + "\n".join(f"{line[:columns]}\033[K" for line in lines) + up, end="", flush=True)
            return
        first = [progress and command not in self.heard for command, progress in told]
        self.heard.update(command for command, progress in told if progress)
        if now - self.shown >= _SECONDS_BETWEEN_LINES:
            self.shown = now
            print("\n".join(lines), flush=True)
        elif any(first):
            print("\n".join(line for line, is_first in zip(lines, first) if is_first), flush=True)


def _clear_progress() -> None:
    if sys.stdout.isatty():
        print("\r\033[J", end="")


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM, and the end of the terminal, end this process as Ctrl-C does, so that no training is left behind."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread can handle signals
        yield
        return
    present = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # nohup lets a command outlive its terminal.
    handled = [number for number in present if signal.getsignal(number) != signal.SIG_IGN]
    previous = {number: signal.signal(number, lambda received, _: sys.exit(128 + received)) for number in handled}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


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
