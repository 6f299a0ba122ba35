"""Run one function over many cases in spawned processes; one bad case does not stop the others."""

from __future__ import annotations

import multiprocessing
import multiprocessing.util
import os
import threading
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any

from tqdm import tqdm

from nnunetv2_crln.errors import UserError


@dataclass(frozen=True)
class Outcome:
    """Result of one task: a value, or the text of an error."""

    name: str
    value: Any = None
    error: str | None = None


def run_parallel(
    function: Callable[..., Any],
    tasks: Mapping[str, Sequence],
    processes: int,
    description: str,
    show_progress: bool = True,
    kept: bool = False,
) -> Generator[Outcome, None, None]:
    """Call ``function(*arguments)`` for every task and yield the outcomes as they come.

    Closing the iterator abandons the tasks that have not begun.

    Args:
        function: Function that can be imported from a module, because the processes are spawned as nnU-Net's are.
        tasks: Arguments of each task, by its name.
        processes: Number of processes; 1 runs everything in this process.
        description: Text before the progress bar.
        show_progress: Show the progress bar.
        kept: The caller keeps what is finished if a process dies; the error says so.

    Yields:
        One outcome per task, with either a value or the text of an error.

    Raises:
        UserError: A process died, most likely because memory ran out.
    """
    if min(processes, len(tasks)) <= 1:
        outcomes = _in_this_process(function, tasks)
    else:
        outcomes = _in_processes(function, tasks, processes, kept)
    with tqdm(desc=description, total=len(tasks), unit="case", disable=not show_progress or not tasks) as bar:
        for outcome in outcomes:
            bar.update()
            yield outcome


def run_all(
    function: Callable[..., Any],
    tasks: Mapping[str, Sequence],
    processes: int,
    description: str,
    show_progress: bool = True,
    kept: bool = False,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Call ``function(*arguments)`` for every task and wait for all of them.

    Args:
        function: Function that can be imported from a module, because the processes are spawned as nnU-Net's are.
        tasks: Arguments of each task, by its name.
        processes: Number of processes; 1 runs everything in this process.
        description: Text before the progress bar.
        show_progress: Show the progress bar.
        kept: The caller keeps what is finished if a process dies; the error says so.

    Returns:
        Values of the tasks that succeeded and error texts of the others, both by name in the order of ``tasks``.

    Raises:
        UserError: A process died, most likely because memory ran out.
    """
    outcomes = {o.name: o for o in run_parallel(function, tasks, processes, description, show_progress, kept)}
    ordered = [outcomes[name] for name in tasks]
    values = {outcome.name: outcome.value for outcome in ordered if outcome.error is None}
    return values, {outcome.name: outcome.error for outcome in ordered if outcome.error is not None}


def _in_this_process(function: Callable[..., Any], tasks: Mapping[str, Sequence]) -> Iterator[Outcome]:
    for name, arguments in tasks.items():
        yield _call_safely(function, name, arguments)


def _in_processes(
    function: Callable[..., Any], tasks: Mapping[str, Sequence], processes: int, kept: bool
) -> Iterator[Outcome]:
    # Spawned, because the threads of torch and ITK do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(processes, len(tasks)), mp_context=context, initializer=end_with_parent)
    futures: list[Future] = []
    try:
        futures = [pool.submit(_call_safely, function, name, arguments) for name, arguments in tasks.items()]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise UserError(
            f"A background process died after {sum(_finished(future) for future in futures)} of {len(tasks)} cases, "
            f"most likely because the operating system ran out of memory. {'Finished cases are kept. ' if kept else ''}"
            "Run the same command again with fewer processes (-np, -npfp). A script needs the usual __main__ guard."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def end_with_parent() -> None:
    """End this process when its parent has ended, because a killed parent cannot end its workers."""
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def end_forks_with_this_process(owner: object) -> None:
    """Let the processes that multiprocessing forks from now on end when this one is killed.

    Args:
        owner: Object as long as whose life this holds.
    """
    multiprocessing.util.register_after_fork(owner, lambda _: end_with_parent())


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _finished(future: Future) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _call_safely(function: Callable[..., Any], name: str, arguments: Sequence) -> Outcome:
    try:
        return Outcome(name, value=function(*arguments))
    except Exception as error:
        # Catch everything at the boundary between cases: whatever is wrong with one, the others go on.
        return Outcome(name, error=_describe(error))


def _describe(error: Exception) -> str:
    """Return the error's message, or its location if it has none, as some errors of nnU-Net's readers."""
    text = " ".join(str(error).split())
    if isinstance(error, UserError):
        return text
    if isinstance(error, OSError) and error.filename is not None:
        return f"{text}. Check permissions and free disk space."
    if text:
        return f"{type(error).__name__}: {text}"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {frame.filename}, line {frame.lineno}: {frame.line}"
