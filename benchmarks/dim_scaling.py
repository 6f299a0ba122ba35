"""How do time and memory of the aggregation (Eq. 6) grow with classes, prototypes and voxels?

    python benchmarks/dim_scaling.py [--device cpu|cuda] [--classes 2 3 15 60] [--prototypes 4 16 32] [--grids 16 32 64]

One forward and backward pass of one image, in three forms: ``linear`` (one dynamic convolution of the keys),
``nonlinear`` (as published, a few classes at a time with recomputation) and ``nonlinear at once`` (as published, all
C x R proximity maps in memory). A form is left out on larger grids when its time there, extrapolated, passes
``--limit`` seconds. CPU: one thread, CPU time, peak resident set over the one before. CUDA: device time and allocated
memory.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import workbench
from torch import Tensor

from nnunetv2_crln.modules.dim import LinearAggregation, NonLinearAggregation

RESULTS = Path(__file__).parent / "results" / "dim_scaling"
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
    """Seconds and peak bytes of one pass, the first pass left out of the time."""
    torch.manual_seed(0)
    module = FORMS[form](classes, prototypes).to(device)
    queries = torch.randn(1, classes, prototypes, CHANNELS, device=device, requires_grad=True)
    forward_backward(module, queries, torch.randn(1, CHANNELS, 4, 4, 4, device=device, requires_grad=True))  # imports
    keys = torch.randn(1, CHANNELS, grid, grid, grid, device=device, requires_grad=True)
    clock = time.process_time
    if device == "cuda":
        forward_backward(module, queries, keys)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        clock = time.perf_counter
    else:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
        before = workbench.resident("VmRSS")
    seconds = []
    while len(seconds) < 5 and sum(seconds) < 2:
        start = clock()
        loss = forward_backward(module, queries, keys)
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(clock() - start)
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else workbench.resident("VmHWM")
    return {
        "form": form,
        "classes": classes,
        "prototypes": prototypes,
        "grid": grid,
        "seconds": sorted(seconds)[len(seconds) // 2],
        "peak_bytes": peak - before,
        "proximity_maps_bytes": 4 * classes * prototypes * grid**3,
        "finite": bool(torch.isfinite(loss)) and bool(torch.isfinite(queries.grad).all()),
    }


def table(results: list[dict], heading: str) -> str:
    lines = [heading, "", "| C | R | grid | C×R maps, MiB | " + " | ".join(f"{f}: s, MiB" for f in FORMS) + " |"]
    lines.append("|---" * (4 + len(FORMS)) + "|")
    found = {(r["classes"], r["prototypes"], r["grid"], r["form"]): r for r in results}
    for classes, prototypes, grid in sorted({key[:3] for key in found}):
        cells = [found.get((classes, prototypes, grid, form)) for form in FORMS]
        texts = ["–" if c is None else f"{c['seconds']:.3g}, {c['peak_bytes'] / 2**20:.0f}" for c in cells]
        maps = 4 * classes * prototypes * grid**3 / 2**20
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
    args = parser.parse_args()
    if args.device == "cpu" and "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        # Freed tensors go back to the system at once, so that the resident set is what lives.
        os.environ["MALLOC_MMAP_THRESHOLD_"] = os.environ["MALLOC_TRIM_THRESHOLD_"] = "65536"
        os.execv(sys.executable, [sys.executable, *sys.argv])
    torch.set_num_threads(1)
    results: list[dict] = []
    for form in args.forms:
        for classes in args.classes:
            for prototypes in args.prototypes:
                last = None
                for grid in sorted(args.grids):
                    at_once = 0 if form != "nonlinear at once" else 4 * 6 * classes * prototypes * grid**3 / 2**30
                    too_long = last is not None and last["seconds"] * (grid / last["grid"]) ** 3 > args.limit
                    if at_once > args.max_gib or too_long:
                        break
                    last = measure(form, classes, prototypes, grid, args.device)
                    results.append(last)
                    print(json.dumps(last), flush=True)
    name = workbench.device_name(args.device)
    text = table(results, f"Forward and backward of one image, {CHANNELS} channels, {name}, torch {torch.__version__}")
    path = args.o or RESULTS / f"{args.device}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"device_name": name, "torch": torch.__version__, "results": results}, indent=1) + "\n")
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
