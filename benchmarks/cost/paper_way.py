"""What does a step cost as the paper describes it, beside ours?

    python benchmarks/cost/paper_way.py [--scale 0.5] [--repeats 6] [--device cpu] [-o result.json]

The paper's step in a literal reading: student and teacher see labelled and unlabelled patches in passes of their own
(four forward passes); CutMix and noise are made inside the step, on the training's device; all C x R proximity maps of
all voxels exist at once; representations are computed at every voxel of Z4; gradients flow from DIM into the network.
The four passes and the augmentation are written here; modules and losses are this package's, with the paper's settings.
Ours is nnUNetTrainer_CRLN with its defaults, whose views come from the loader. Both take turns in one process on random
images; peak memory is that of a process of its own for each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import workbench
from step_time import WARM_UP, clock_of, step_times

RESULT = Path(__file__).parents[1] / "results" / "paper_way.json"
PAPER = {
    "aggregation": "nonlinear",
    "representation_kernel": 3,
    "detach_features": False,
    "num_prototypes": 16,
    "cps_weight": 1.0,
    "rectification": "learned",
    "pseudo_label_loss": "cross_entropy",
}
WAYS = ("ours", "paper")


def build(way: str, work: Path, plans: dict, device: str) -> Any:
    """Return a trainer whose train_step is one step of that way."""
    from nnunetv2_crln.training.trainer import nnUNetTrainer_CRLN

    if way == "ours":
        return workbench.build_trainer(nnUNetTrainer_CRLN, work, plans, device)
    trainer = workbench.build_trainer(nnUNetTrainer_CRLN, work, plans, device, **PAPER)
    for heads in (trainer.method.heads, trainer.method.teacher_heads.module):
        heads.dim.aggregation.classes_at_once = trainer.method.num_classes
    trainer.train_step = lambda batch: paper_step(trainer, batch)
    return trainer


def paper_step(trainer: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """Take one step with four forward passes; the loader's strong view is not used."""
    import numpy as np
    import torch

    from nnunetv2_crln.training.method.crln import Batch, Forward
    from nnunetv2_crln.training.method.objective import StudentPass
    from nnunetv2_crln.training.method.strong_geometry import StrongGeometry

    method, settings, phase = trainer.method, trainer.settings, trainer.phase
    moved = Batch.on_device(batch, trainer.device)
    grid = tuple(moved.weak.shape[2:])
    geometry = StrongGeometry.draw(len(moved.weak), grid, 4.0, 1.0, (), np.random.default_rng(trainer.step))
    geometry = StrongGeometry(geometry.boxes.to(trainer.device), geometry.flips, geometry.pasted)
    strong = geometry.apply(moved.weak)
    strong = strong + 0.1 * torch.randn_like(strong)
    with trainer.autocast():
        pseudo, monitored = method.pseudo_labels(moved.weak, phase.rectifying)
        with torch.no_grad():
            method.teacher_network(moved.labelled)
            method.teacher_taps.clear()
        labelled = method.network(moved.labelled)
        of_labelled = method.student_taps.take()
        unlabelled = method.network(strong)
        of_unlabelled = method.student_taps.take()
        features = type(of_labelled)(*(torch.cat(pair) for pair in zip(*map(tensors_of, (of_labelled, of_unlabelled)))))
        full = [outputs[0] if isinstance(outputs, (list, tuple)) else outputs for outputs in (labelled, unlabelled)]
        student = StudentPass(labelled, full[0], unlabelled, full[1], features)
        labelled_map = method.heads.relationship_map(of_labelled, grid, settings.detach_features)
        warped = pseudo.warped_by(geometry)
        losses = method.objective(student, labelled_map, method.heads, moved.target, warped, phase)
    forward = Forward(losses, monitored, full[0], labelled_map, moved.target)
    trainer.gradient_step(losses["loss"], trainer.grad_scaler, trainer.step)
    method.after_gradient_step(forward, phase, trainer.step)
    trainer.step += 1
    return forward.detached()


def tensors_of(features: Any) -> tuple:
    """Return Z2, Z3 and Z4."""
    return features.quarter, features.half, features.full


def peak_bytes(way: str, args: argparse.Namespace) -> int:
    """Measure a way's peak memory in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--peak-of", way, "--scale", str(args.scale)]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command += ["--device", args.device]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def print_peak(way: str, work: Path, plans: dict, device: str) -> None:
    """Print the bytes that building a trainer and a few steps need at once."""
    import torch

    from nnunetv2_crln.training import variants  # noqa: F401 - code is no part of a way's memory

    before = workbench.resident("VmRSS")
    trainer = build(way, work, plans, device)
    batch = workbench.draw_batch(trainer)
    for _ in range(WARM_UP):
        trainer.train_step(batch)
    print(torch.cuda.max_memory_allocated() if device == "cuda" else workbench.resident("VmHWM") - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--scale", type=float, default=1.0, help="of the patch's sides, for small machines")
    parser.add_argument("--repeats", type=int, default=6, help="rounds; default: %(default)s")
    parser.add_argument("--no-memory", action="store_true", help="leave out the processes that measure memory")
    parser.add_argument("-o", type=Path, default=RESULT)
    parser.add_argument("--peak-of", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    setting = workbench.SETTINGS["left_atrium"].scaled(args.scale)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        workbench.set_paths(work)
        plans = workbench.write_cases(work, setting)
        if args.peak_of:
            print_peak(args.peak_of, work, plans, args.device)
            return
        trainers = {way: build(way, work, plans, args.device) for way in WAYS}
        batches = {way: workbench.draw_batch(trainer) for way, trainer in trainers.items()}
        seconds = step_times(trainers, batches, clock_of("cpu", args.device), args.repeats)
        del trainers
    peaks = {} if args.no_memory else {way: peak_bytes(way, args) for way in WAYS}
    ratios = [a / b for a, b in zip(seconds["paper"], seconds["ours"], strict=True)]
    result = {
        "patch_size": list(setting.patch_size),
        "device_name": workbench.device_name(args.device),
        "clock": "wall time" if args.device == "cuda" else "CPU time, one thread",
        "seconds": {way: workbench.quantiles(values) for way, values in seconds.items()},
        "time_paper_to_ours": workbench.quantiles(ratios),
        "peak_bytes": peaks,
    }
    if peaks:
        result["memory_paper_to_ours"] = peaks["paper"] / peaks["ours"]
    print(json.dumps(result, indent=1))
    args.o.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
