"""Does data loading keep up with training?

    python benchmarks/cost/loader_throughput.py --setting hippocampus [--workers 2 12] [--step-time 0.1]

Draws batches from the trainers' own loaders: labelled and unlabelled patches (weak and strong view) for CRLN, as many
labelled patches for plain nnU-Net. Per number of workers: patches a second, CPU seconds of the workers for one batch,
and how many workers keep a training busy whose step takes ``--step-time`` seconds (default: as measured here). CPU
seconds do not depend on what else the machine does; patches a second do. Without ``--workers``: nnU-Net's default for
this machine (12, or as many as it has cores) and one.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import tempfile
import time
from pathlib import Path

import workbench
from step_time import build

RESULTS = Path(__file__).parents[1] / "results" / "loader_throughput"
METHODS = ("nnunet", "crln")


def cpu_seconds(process: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def throughput(method: str, work: Path, plans: dict, workers: int, draws: int) -> dict:
    """Draw batches as fast as they come, after the workers' queues ran empty once."""
    workbench.set_paths(work, workers)
    trainer = build(method, work, plans, "cpu")
    loader = trainer.dataloader_train
    for _ in range(4 * workers):
        next(loader)
    mine = [p.pid for p in loader._processes]
    start, cpu = time.perf_counter(), sum(map(cpu_seconds, mine))
    for _ in range(draws):
        batch = next(loader)
    wall, cpu = time.perf_counter() - start, sum(map(cpu_seconds, mine)) - cpu
    for each in (loader, trainer.dataloader_val):
        each._finish()
    patches = len(batch["data"]) + len(batch.get("unlabelled_weak", ()))
    return {
        "method": method,
        "workers": workers,
        "worker_processes": len(mine),
        "patches": patches,
        "patches_per_s": patches * draws / wall,
        "cpu_s_per_batch": cpu / draws,
    }


def step_seconds(work: Path, plans: dict) -> float:
    workbench.set_paths(work, 0)
    trainer = build("crln", work, plans, "cpu")
    batch = workbench.draw_batch(trainer)
    seconds = []
    for _ in range(6):
        start = time.process_time()
        trainer.train_step(batch)
        seconds.append(time.process_time() - start)
    return statistics.median(seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setting", choices=sorted(workbench.SETTINGS), default="hippocampus")
    parser.add_argument("--workers", type=int, nargs="+")
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--step-time", type=float, help="of the training that is to be kept busy, seconds")
    parser.add_argument("-o", type=Path, help=f"default: {RESULTS}/SETTING.json")
    args = parser.parse_args()
    import torch
    from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA

    torch.set_num_threads(1)
    os.environ.pop("nnUNet_n_proc_DA", None)
    default = get_allowed_n_proc_DA()
    setting = workbench.SETTINGS[args.setting]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        workbench.set_paths(work)
        plans = workbench.write_cases(work, setting, 4, 4)
        step = args.step_time or step_seconds(work, plans)
        rows = [
            throughput(method, work, plans, workers, args.draws)
            for workers in args.workers or sorted({1, default})
            for method in METHODS
        ]
    for row in rows:
        row["workers_to_keep_up"] = math.ceil(row["cpu_s_per_batch"] / step)
    result = {
        "setting": args.setting,
        "device_name": workbench.device_name("cpu"),
        "cores": os.cpu_count(),
        "nnunet_default_workers": default,
        "step_s": step,
        "step_measured_here": args.step_time is None,
        "loaders": rows,
    }
    print(json.dumps(result, indent=1))
    path = args.o or RESULTS / f"{args.setting}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
