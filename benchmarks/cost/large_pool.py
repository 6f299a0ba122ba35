"""Measure the start-up time and the memory of a training with thousands of unlabelled cases.

    python benchmarks/cost/large_pool.py [--cases 10000] [--workers 1] [--draws 600] [-o result.json]

The pool is made of links to four preprocessed cases. "Start" is everything between ``nnUNetv2_train``'s imports and the
first batch. The memory of training process and workers is read after every sixth of the draws: each draw opens other
files, so that anything kept of a file would show.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from pathlib import Path

import workbench

RESULT = Path(__file__).parents[1] / "results" / "large_pool.json"
# Tiny patches: the question is what the number of cases costs.
SETTING = workbench.Setting((16, 16, 16), (4, 8, 8), 2, (1, 1, 1))
PARTS = 6


def measure(work: Path, cases: int, workers: int, draws: int) -> dict:
    from nnunetv2_crln.training.variants import nnUNetTrainer_CRLN

    workbench.set_paths(work, workers)
    plans = workbench.write_cases(work, SETTING, unlabelled=min(4, cases))
    workbench.multiply_unlabelled(work, cases)
    wall, cpu = time.perf_counter(), time.process_time()
    trainer = workbench.build_trainer(nnUNetTrainer_CRLN, work, plans, "cpu", monitor_every=1)
    loader = trainer.dataloader_train
    next(loader)
    started = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    resident = []
    for _ in range(PARTS):
        for _ in range(draws // PARTS):
            next(loader)
        processes = ["self", *(child.pid for child in multiprocessing.active_children())]
        resident.append(sum(workbench.resident("VmRSS", process) for process in processes))
    for each in (loader, trainer.dataloader_val):
        if workers:
            each._finish()
    return {
        "cases": cases,
        "workers": workers,
        "draws": draws,
        "device_name": workbench.device_name("cpu"),
        "start": started,
        "resident_bytes": resident,
        "growth_after_first_part": resident[-1] / resident[0] - 1,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, nargs="+", default=[100, 10_000])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--draws", type=int, default=600)
    parser.add_argument("-o", type=Path, default=RESULT)
    args = parser.parse_args()
    results = []
    for cases in args.cases:
        with tempfile.TemporaryDirectory() as work:
            results.append(measure(Path(work), cases, args.workers, args.draws))
        print(json.dumps(results[-1], indent=1))
    args.o.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
