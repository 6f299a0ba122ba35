"""A list of commands of which none may end the others: time limits, logs, resuming, and a page about them all."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DONE, FAILED, STOPPED, LEFT_OUT = "done", "failed", "out of time", "left out"
SECONDS_TO_STOP = 10
LEAST_SECONDS = 5
"""A step is not begun with less time than this."""


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        name: Short, for files.
        question: What it answers.
        command: Arguments; "python" becomes the running interpreter.
        share: Part of all minutes that it may take at most; what it leaves goes to the later ones.
        environment: Variables on top of those of this process.
        result: File that it writes, if any, for the page.
    """

    name: str
    question: str
    command: Sequence[str]
    share: float
    environment: Mapping[str, str] = field(default_factory=dict)
    result: Path | None = None


class Steps:
    """Runs steps within a number of minutes; a second call with the same folder repeats nothing that is done.

    Args:
        folder: Logs, records and the page.
        minutes: For all steps together.
        least: Seconds that every step may take, however small its share, as long as some are left.
    """

    def __init__(self, folder: Path, minutes: float, least: float = 0) -> None:
        self.folder, self.seconds, self.least = folder, 60 * minutes, least
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        self._file = folder / "steps.json"
        self.records: dict[str, dict[str, Any]] = json.loads(self._file.read_text()) if self._file.exists() else {}
        self._start = time.monotonic()

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.seconds - (time.monotonic() - self._start)

    def run(self, steps: Sequence[Step]) -> None:
        """Run what is not done yet, in order; every record is written at once."""
        for step in steps:
            record = self.records.get(step.name, {})
            if record.get("state") == DONE:
                continue
            limit = min(max(step.share * self.seconds, self.least), self.left())
            if limit < LEAST_SECONDS:
                new = {"state": record.get("state", LEFT_OUT), "seconds": 0.0}
            else:
                print(f"{step.name}: at most {limit:.0f} s", flush=True)
                new = self._run_one(step, limit)
            new["seconds"] += record.get("seconds", 0.0)
            self.records[step.name] = {**new, "command": shlex.join(map(str, step.command))}
            self._file.write_text(json.dumps(self.records, indent=1) + "\n")
            print(f"{step.name}: {new['state']} after {new['seconds']:.0f} s", flush=True)

    def _run_one(self, step: Step, limit: float) -> dict[str, Any]:
        command = [sys.executable if part == "python" else str(part) for part in step.command]
        started, state = time.monotonic(), FAILED
        with open(self.log_of(step), "a", encoding="utf-8") as log:
            try:
                process = subprocess.Popen(
                    command,
                    env={**os.environ, **step.environment, "PYTHONUNBUFFERED": "1"},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # so that stopping reaches nnU-Net's workers as well
                )
            except OSError as error:
                log.write(f"{error}\n")
                return {"state": FAILED, "seconds": 0.0}
            try:
                state = DONE if process.wait(limit) == 0 else FAILED
            except subprocess.TimeoutExpired:
                state = STOPPED
            finally:
                _stop(process)
        return {"state": state, "seconds": time.monotonic() - started}

    def log_of(self, step: Step) -> Path:
        """Return the file with a step's output."""
        return self.folder / "logs" / f"{step.name}.log"

    def write_page(self, steps: Sequence[Step], heading: str, facts: Mapping[str, Any]) -> Path:
        """Write README.md: the facts, a row for each step, and what each has found or last said.

        Returns:
            The page.
        """
        lines = [f"# {heading}", "", *(f"- {name}: {value}" for name, value in facts.items()), ""]
        lines += ["| step | question | state | s |", "|---|---|---|---|"]
        for step in steps:
            record = self.records.get(step.name, {"state": LEFT_OUT, "seconds": 0.0})
            lines.append(f"| {step.name} | {step.question} | {record['state']} | {record['seconds']:.0f} |")
        for step in steps:
            if step.name in self.records:
                lines += ["", f"## {step.name}", "", f"`{self.records[step.name]['command']}`", "", self._found(step)]
        page = self.folder / "README.md"
        page.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return page

    def _found(self, step: Step) -> str:
        if step.result is not None and step.result.with_suffix(".md").exists():
            return step.result.with_suffix(".md").read_text(encoding="utf-8").replace("\n### ", "\n#### ")
        if step.result is not None and step.result.exists():
            return f"```json\n{step.result.read_text(encoding='utf-8').strip()}\n```"
        if not self.log_of(step).exists():
            return "No output."
        said = self.log_of(step).read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(["```", *said[-25:], "```"])


def _stop(process: subprocess.Popen) -> None:
    """End a process with all that it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            continue
