"""Measure the cost of monitoring: CPU time of a look at the fixed cases, of both drawings and of a training step.

    nnUNet_preprocessed=… nnUNet_results=… python benchmarks/cost/monitoring_cost.py PLANS.json [--steps 5]

PLANS.json lies in the preprocessed dataset; nothing but the results folder is written. Takes a minute. CPU time
of one thread is compared, not wall time, so that other work on the machine does not matter.
"""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import torch

from nnunetv2_crln.reporting.curves import PANELS
from nnunetv2_crln.reporting.progress_png import save_progress_png
from nnunetv2_crln.training.variants import nnUNetTrainer_CRLN_short


def seconds(action, repeats: int) -> float:
    """Median CPU time of an action, the first run (which reads and allocates) left out."""
    times = []
    for _ in range(repeats + 1):
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plans", type=Path)
    parser.add_argument("-c", default="3d_fullres")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("-o", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plans = json.loads(arguments.plans.read_text(encoding="utf-8"))
    plans["configurations"][arguments.c].setdefault("crln", {}).update(seed=0, overlay_every=0, rectification_start=0)
    plans["continue_training"] = False
    dataset_json = json.loads((arguments.plans.parent / "dataset.json").read_text(encoding="utf-8"))
    trainer = nnUNetTrainer_CRLN_short(plans, arguments.c, "all", dataset_json, torch.device("cpu"))
    trainer.on_train_start()
    trainer.on_train_epoch_start()
    step = seconds(lambda: trainer.train_step(next(trainer.dataloader_train)), arguments.steps)
    monitor = trainer.build_monitor()
    look = seconds(lambda: monitor.after_epoch(0, False, True), 5)
    curves = {line.key: [0.1 * (i % 7) for i in range(1000)] for panel in PANELS for line in panel.lines}
    progress = seconds(lambda: save_progress_png(curves, trainer.output_folder), 5)
    nnunet = trainer.logger.local_logger
    nnunet.my_fantastic_logging = {key: [0.1] * 1000 for key in nnunet.my_fantastic_logging}
    result = {
        "step_s": step,
        "look_at_4_cases_s": look,
        "look_share_of_50_iterations": look / (50 * step),
        "look_share_of_250_iterations": look / (250 * step),
        "progress_crln_png_of_1000_epochs_s": progress,
        "progress_png_of_nnunet_s": seconds(lambda: nnunet.plot_progress_png(trainer.output_folder), 3),
        "patch_size": plans["configurations"][arguments.c]["patch_size"],
        "torch": torch.__version__,
        "machine": platform.processor() or platform.machine(),
    }
    print(json.dumps(result, indent=2))
    if arguments.o:
        arguments.o.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
