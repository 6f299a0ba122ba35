"""Does memory grow in a long training? Memory of the training process and of its loader workers over the iterations.

    nnUNet_preprocessed=… nnUNet_results=… python benchmarks/cost/memory_over_time.py PLANS.json [--iterations 2000]

PLANS.json lies in the preprocessed dataset; a configuration with a small network is enough, as leaks do not depend on
its size. Epochs end as in a real training, with validation, pictures and checkpoints. Linux only: the proportional set
size of each process (/proc/PID/smaps_rollup), which counts shared memory once. Beside the curve the result has the
growth per 1000 iterations, fitted to the samples after the first quarter: until then caches fill.
"""

import argparse
import json
import os
import platform
from pathlib import Path

import numpy as np
import torch

from nnunetv2_crln.training.variants import nnUNetTrainer_CRLN_short

MIB = 1 << 20


def proportional_set_size(pid: int) -> float:
    """Memory of a process in MiB, shared pages divided among those that share them."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / MIB
    raise RuntimeError(f"no Pss of process {pid}")


def growth(iterations: list[int], values: list[float]) -> float:
    """Slope in MiB per 1000 iterations, over the samples after the first quarter."""
    start = len(iterations) // 4
    return float(np.polyfit(iterations[start:], values[start:], 1)[0] * 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plans", type=Path)
    parser.add_argument("-c", default="3d_fullres")
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--epoch", type=int, default=50, help="iterations of one epoch; default: 50")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("-device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("-o", type=Path)
    arguments = parser.parse_args()
    os.environ["nnUNet_n_proc_DA"] = str(arguments.workers)
    torch.set_num_threads(1)
    plans = json.loads(arguments.plans.read_text(encoding="utf-8"))
    configuration = plans["configurations"][arguments.c]
    configuration.setdefault("crln", {}).update(seed=0, save_every=5, rectification_start=0)
    configuration["short_schedule"] = {
        "num_epochs": arguments.iterations // arguments.epoch,
        "num_iterations_per_epoch": arguments.epoch,
    }
    plans["continue_training"] = False
    dataset_json = json.loads((arguments.plans.parent / "dataset.json").read_text(encoding="utf-8"))
    trainer = nnUNetTrainer_CRLN_short(plans, arguments.c, "all", dataset_json, torch.device(arguments.device))
    samples: list[dict] = []
    end_of_epoch = trainer.on_epoch_end

    def sample() -> None:
        end_of_epoch()
        workers = [
            process for loader in (trainer.dataloader_train, trainer.dataloader_val) for process in loader._processes
        ]
        samples.append(
            {
                "iteration": trainer.step,
                "training_mib": round(proportional_set_size(os.getpid()), 1),
                "workers_mib": [round(proportional_set_size(process.pid), 1) for process in workers],
            }
        )

    trainer.on_epoch_end = sample  # type: ignore[method-assign]
    trainer.run_training()
    iterations = [s["iteration"] for s in samples]
    training = [s["training_mib"] for s in samples]
    workers = [sum(s["workers_mib"]) for s in samples]
    result = {
        "iterations": trainer.step,
        "workers": arguments.workers,
        "training_mib_per_1000_iterations": round(growth(iterations, training), 2),
        "all_workers_mib_per_1000_iterations": round(growth(iterations, workers), 2),
        "training_mib_first_quarter_and_end": [training[len(training) // 4], training[-1]],
        "all_workers_mib_first_quarter_and_end": [round(workers[len(workers) // 4], 1), round(workers[-1], 1)],
        "patch_size": configuration["patch_size"],
        "device": arguments.device,
        "torch": torch.__version__,
        "machine": platform.processor() or platform.machine(),
        "samples": samples,
    }
    print(json.dumps({key: value for key, value in result.items() if key != "samples"}, indent=2))
    if arguments.o:
        arguments.o.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
