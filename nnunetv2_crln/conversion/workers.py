"""Runs one function over many cases in parallel; a case that fails does not disturb the others."""

import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from tqdm import tqdm

from nnunetv2_crln.errors import UserError


def run_cases(
    function: Callable[[Any], Any], jobs: Mapping[str, Any], processes: int, title: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """Call ``function(job)`` for each case, with a progress bar.

    Args:
        function: Importable from a module, so that worker processes find it.
        jobs: Case name to the argument.
        processes: Number of worker processes; 1 works in this process.
        title: Shown beside the progress bar.

    Returns:
        Results and error texts, each by case name in the order of ``jobs``.
    """
    results, errors = {}, {}
    outcomes = _in_this_process(function, jobs) if processes == 1 else _in_workers(function, jobs, processes)
    for case, result, error in tqdm(outcomes, total=len(jobs), desc=title, disable=not jobs):
        if error is None:
            results[case] = result
        else:
            errors[case] = error
    return {case: results[case] for case in jobs if case in results}, {
        case: errors[case] for case in jobs if case in errors
    }


def _guarded(function: Callable[[Any], Any], job: Any) -> tuple[Any, str | None]:
    try:
        return function(job), None
    except UserError as error:
        return None, str(error)
    except OSError as error:
        return None, f"{error}. Check permissions and free disk space."
    except Exception as error:
        # The boundary between cases: whatever is wrong with one, the others go on.
        return None, f"{type(error).__name__}: {error}"


def _in_this_process(function: Callable, jobs: Mapping[str, Any]) -> Iterator[tuple[str, Any, str | None]]:
    for case, job in jobs.items():
        yield case, *_guarded(function, job)


def _in_workers(function: Callable, jobs: Mapping[str, Any], processes: int) -> Iterator[tuple[str, Any, str | None]]:
    # Spawned, because ITK's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max(1, min(processes, len(jobs))), context) as pool:
        futures = {pool.submit(_guarded, function, job): case for case, job in jobs.items()}
        try:
            for future in as_completed(futures):
                yield futures[future], *_outcome(future)
        except BaseException:
            # Ctrl-C: without this, leaving the block would wait for all cases that are still queued.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _outcome(future: Future) -> tuple[Any, str | None]:
    try:
        return future.result()
    except BrokenProcessPool:
        return None, "A worker process was killed, probably for lack of memory. Use fewer workers (-np)."
