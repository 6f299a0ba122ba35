"""Measure how time and memory of the aggregation (Eq. 6) grow with classes, prototypes and voxels.

    python benchmarks/cost/dim_scaling.py [--device cpu|cuda] [--classes 2 15 60] [--prototypes 4 16 32] [--grids 16 32]

One forward and backward pass of two images, in three forms: ``linear`` (one dynamic convolution of the keys),
``nonlinear`` (as published, a few classes at a time with recomputation) and ``nonlinear at once`` (as published, all
C x R proximity maps in memory). A form is left out on larger grids when its time there, extrapolated, passes
``--limit`` seconds. CPU: one thread, CPU time, peak resident set over the one before. CUDA: device time and allocated
memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import workbench
from torch import Tensor

from nnunetv2_crln.modules.dim import LinearAggregation, NonLinearAggregation

RESULTS = Path(__file__).parents[1] / "results" / "dim_scaling"
IMAGES = 2
CHANNELS = 16  # of the keys: nnU-Net's networks have 32 or 64 there, small plans 16
FORMS: dict[str, Callable[[int, int], torch.nn.Module]] = {
    "linear": lambda classes, prototypes: LinearAggregation(prototypes, 3, classes),
    "nonlinear": lambda classes, prototypes: NonLinearAggregation(prototypes, 3),
    "nonlinear at once": lambda classes, prototypes: NonLinearAggregation(prototypes, 3, max_maps=10**9),
}


def forward_backward(module: torch.nn.Module, queries: Tensor, keys: Tensor) -> Tensor:
    """Loss of one pass; gradients reach queries, keys and weights."""
    queries.grad = keys.grad = None
    loss = module(queries, keys).square().mean()
    loss.backward()
    return loss.detach()


def measure(form: str, classes: int, prototypes: int, grid: int, device: str) -> dict:
    """Seconds of a pass, the first one left out."""
    module, queries, keys = build(form, classes, prototypes, grid, device)
    forward_backward(module, queries, keys)
    seconds: list[float] = []
    while len(seconds) < 3 and sum(seconds) < 1:
        start = now(device)
        loss = forward_backward(module, queries, keys)
        seconds.append(now(device) - start)
    return {
        "form": form,
        "classes": classes,
        "prototypes": prototypes,
        "grid": grid,
        "seconds": sorted(seconds)[len(seconds) // 2],
        "proximity_maps_bytes": 4 * IMAGES * classes * prototypes * grid**3,
        "finite": bool(torch.isfinite(loss)) and bool(torch.isfinite(queries.grad).all()),
    }


def build(form: str, classes: int, prototypes: int, grid: int, device: str) -> tuple[torch.nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    queries = torch.randn(IMAGES, classes, prototypes, CHANNELS, device=device, requires_grad=True)
    keys = torch.randn(IMAGES, CHANNELS, grid, grid, grid, device=device, requires_grad=True)
    return FORMS[form](classes, prototypes).to(device), queries, keys


def now(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def peak_bytes(form: str, classes: int, prototypes: int, grid: int, device: str) -> int:
    """Memory of a pass beyond its inputs."""
    # A tiny pass first: what libraries load and allocate for themselves does not count.
    forward_backward(*build(form, classes, prototypes, 4, device))
    module, queries, keys = build(form, classes, prototypes, grid, device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        forward_backward(module, queries, keys)
        return torch.cuda.max_memory_allocated() - before
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before = workbench.resident("VmRSS")
    forward_backward(module, queries, keys)
    return workbench.resident("VmHWM") - before


def add_peaks(results: list[dict], device: str) -> None:
    """Measure memory in a process of its own, where freed tensors go back to the system at once."""
    cases = [key_of(result) for result in results]
    command = [sys.executable, str(Path(__file__).resolve()), "--device", device, "--peaks-of", json.dumps(cases)]
    # With these settings the resident set is what lives; they also slow every allocation down.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    for result, peak in zip(results, json.loads(done.stdout), strict=True):
        result["peak_bytes"] = peak


def table(results: list[dict], heading: str) -> str:
    lines = [heading, "", "| C | R | grid | C×R maps, MiB | " + " | ".join(f"{f}: s, MiB" for f in FORMS) + " |"]
    lines.append("|---" * (4 + len(FORMS)) + "|")
    found = {(r["classes"], r["prototypes"], r["grid"], r["form"]): r for r in results}
    for classes, prototypes, grid in sorted({key[:3] for key in found}):
        cells = [found.get((classes, prototypes, grid, form)) for form in FORMS]
        texts = ["–" if c is None else f"{c['seconds']:.3g}, {c['peak_bytes'] / 2**20:.0f}" for c in cells]
        maps = 4 * IMAGES * classes * prototypes * grid**3 / 2**20
        lines.append(f"| {classes} | {prototypes} | {grid}³ | {maps:.0f} | {' | '.join(texts)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 3, 15, 60])
    parser.add_argument("--prototypes", type=int, nargs="+", default=[4, 16, 32])
    parser.add_argument("--grids", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--forms", nargs="+", choices=list(FORMS), default=list(FORMS))
    parser.add_argument("--limit", type=float, default=10.0, help="seconds a pass may take; default: %(default)s")
    parser.add_argument("--max-gib", type=float, default=8.0, help="of C x R maps at once; default: %(default)s")
    parser.add_argument("-o", type=Path, help=f"default: {RESULTS}/DEVICE.json")
    parser.add_argument("--peaks-of", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.peaks_of:
        print(json.dumps([peak_bytes(*case, args.device) for case in json.loads(args.peaks_of)]))
        return
    results: list[dict] = []
    path = args.o or RESULTS / f"{args.device}.json"
    for form in args.forms:
        for classes in args.classes:
            for prototypes in args.prototypes:
                last = None
                for grid in sorted(args.grids):
                    at_once = (
                        0 if form != "nonlinear at once" else 4 * 6 * IMAGES * classes * prototypes * grid**3 / 2**30
                    )
                    too_long = last is not None and last["seconds"] * (grid / last["grid"]) ** 3 > args.limit
                    if at_once > args.max_gib or too_long:
                        break
                    last = measure(form, classes, prototypes, grid, args.device)
                    results.append(last)
                    print(json.dumps(last), flush=True)
    add_peaks(results, args.device)
    save(results, path, workbench.device_name(args.device))
    print(path.with_suffix(".md").read_text(encoding="utf-8"))


def save(results: list[dict], path: Path, device_name: str) -> None:
    """Write numbers and table; measurements of the file that were not made again stay."""
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = {"device_name": device_name, "torch": torch.__version__}
    before = json.loads(path.read_text()) if path.exists() else {"results": []}
    if machine.items() <= before.items():
        again = {key_of(result) for result in results}
        results = [result for result in before["results"] if key_of(result) not in again] + results
    path.write_text(json.dumps({**machine, "results": results}, indent=1) + "\n")
    heading = f"Forward and backward of {IMAGES} images, {CHANNELS} channels, {device_name}, torch {torch.__version__}"
    path.with_suffix(".md").write_text(table(results, heading), encoding="utf-8")


def key_of(result: dict) -> tuple:
    return tuple(result[key] for key in ("form", "classes", "prototypes", "grid"))


if __name__ == "__main__":
    main()
