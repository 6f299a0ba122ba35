"""Measure the cost of a training step of CRLN beside plain nnU-Net's and a mean teacher's.

    python benchmarks/cost/step_time.py --setting hippocampus --device cpu [--repeats 30] [-o result.json]
    python benchmarks/cost/step_time.py --setting left_atrium --device cuda

Real trainers take steps in turns, in one process, on random images of the setting's size. All get the same network,
patch and number of patches: plain nnU-Net trains on labelled + unlabelled patches as if all were labelled. AMP and
torch.compile are as nnU-Net decides. Ratios are taken within a round and their median over the rounds is reported.

``--clock cpu`` (default on a CPU with one thread) counts the process's CPU time, so that other work on the machine
matters less. Peak memory is that of a process of its own for each method. The parts are timed in separate steps: on a
GPU each part waits for the device there, so that their sum exceeds the step measured above.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import workbench

RESULTS = Path(__file__).parents[1] / "results" / "step_time"
METHODS = ("nnunet", "mean_teacher", "crln_no_cps", "crln")
RATIOS = (("crln", "nnunet"), ("crln", "mean_teacher"), ("mean_teacher", "nnunet"), ("crln_no_cps", "mean_teacher"))
TARGETS = {
    "cpu": {"crln/nnunet": 1.30, "crln/mean_teacher": 1.10, "memory crln/nnunet": 1.25},
    "cuda": {"crln/nnunet": 1.25, "crln/mean_teacher": 1.10, "memory crln/nnunet": 1.25},
}
WARM_UP = 3


def class_of(method: str) -> type:
    """Return the trainer of a method."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    from nnunetv2_crln.training import variants

    return {
        "nnunet": nnUNetTrainer,
        "mean_teacher": variants.nnUNetTrainer_MeanTeacher,
        "crln_no_cps": variants.nnUNetTrainer_CRLN_noCPS,
        "crln": variants.nnUNetTrainer_CRLN,
    }[method]


def build(method: str, work: str | Path, plans: dict, device: str, bfloat16: bool = False):
    """Return a method's trainer, ready for its first step; plain nnU-Net's has as many patches as the others."""
    factor = 2 if method == "nnunet" else 1
    return workbench.build_trainer(class_of(method), work, plans, device, factor, cpu_bfloat16=bfloat16)


def networks_of(trainer) -> list:
    """Return the trainer's network and, where there is one, the teacher's."""
    return [trainer.network, trainer.method.teacher.module] if hasattr(trainer, "method") else [trainer.network]


# ---------------------------------------------------------------------------- time


def clock_of(name: str, device: str) -> Callable[[], float]:
    """Return a clock that waits for the device."""
    if device == "cuda":
        import torch

        def after_the_device() -> float:
            torch.cuda.synchronize()
            return time.perf_counter()

        return after_the_device
    return time.process_time if name == "cpu" else time.perf_counter


def step_times(trainers: dict, batches: dict, clock: Callable[[], float], repeats: int) -> dict[str, list[float]]:
    """Seconds of each step; the methods take turns, and the order turns too."""
    for _ in range(WARM_UP):
        for method, trainer in trainers.items():
            trainer.train_step(batches[method])
    seconds: dict[str, list[float]] = {method: [] for method in trainers}
    order = list(trainers)
    for repeat in range(repeats):
        turned = order[repeat % len(order) :] + order[: repeat % len(order)]
        for method in turned:
            start = clock()
            trainers[method].train_step(batches[method])
            seconds[method].append(clock() - start)
    return seconds


# ---------------------------------------------------------------------------- parts


class PartTimer:
    """Exclusive seconds of named calls: what a nested part takes does not count for the outer one."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner: list[float] = []

    def timed(self, part: str, function: Callable) -> Callable:
        @functools.wraps(function)  # with the attributes of a callable object
        def call(*args, **kwargs):
            start = self.clock()
            self._inner.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                total = self.clock() - start
                self.seconds[part] += total - self._inner.pop()
                if self._inner:
                    self._inner[-1] += total

        return call


def parts_of(trainer) -> list[tuple[Any, str, str]]:
    """(object, name of its callable, part) of a training step; nothing in the trainer knows that it is timed."""
    import torch

    parts = [
        (torch.Tensor, "backward", "backward"),
        (trainer.optimizer, "step", "optimiser"),
        (trainer.loss, "forward", "supervised loss"),
    ]
    if not hasattr(trainer, "method"):
        return parts
    parts += [
        (trainer.method, "pseudo_labels", "teacher forward, pseudo labels"),
        (trainer.method, "student_pass", "student forward"),
        (trainer, "gradient_step", "clipping"),
        (trainer.method.teacher, "update", "EMA"),
        (trainer.method.teacher_heads, "update", "EMA"),
        (trainer.method.objective, "_consistency", "consistency"),
    ]
    if trainer.method.heads.dim is not None:
        parts += [
            (trainer.method.heads.dim, "forward", "DIM"),
            (trainer.method.teacher_heads.module, "second_opinion", "second opinion"),
            (trainer.method.objective, "full_resolution", "loss of M and mu"),
            (trainer.method, "_update_rectifier", "mu"),
        ]
    if trainer.method.heads.representation is not None:
        parts.append((trainer.method.objective, "_cps", "CPS"))
    return parts


@contextlib.contextmanager
def timed_parts(trainer, timer: PartTimer) -> Iterator[None]:
    """Put the timer around every part for the length of the block."""
    with contextlib.ExitStack() as stack:
        for owner, name, part in parts_of(trainer):
            own = vars(owner).get(name)
            setattr(owner, name, timer.timed(part, getattr(owner, name)))
            if own is None:
                stack.callback(delattr, owner, name)
            else:
                stack.callback(setattr, owner, name, own)
        yield


def breakdown(trainer, batch: dict, clock: Callable[[], float], repeats: int) -> dict[str, float]:
    """Seconds of each part of a step, largest first."""
    timer = PartTimer(clock)
    step = timer.timed("rest" if hasattr(trainer, "method") else "student forward", trainer.train_step)
    with timed_parts(trainer, timer):
        for _ in range(repeats):
            step(batch)
    return {part: s / repeats for part, s in sorted(timer.seconds.items(), key=lambda item: -item[1])}


# ---------------------------------------------------------------------------- memory


def peak_memory(method: str, work: str | Path, device: str, threads: int, bfloat16: bool) -> int:
    """Bytes that building a trainer and three steps need at once, measured in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--peak-of", method, "--work", str(work)]
    command += ["--device", device, "--threads", str(threads), *(["--cpu-bfloat16"] if bfloat16 else [])]
    # Freed tensors go back to the system at once, so that the resident set is what lives.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])["peak"]


def print_peak(args: argparse.Namespace) -> None:
    plans = json.loads((args.work / "preprocessed" / workbench.DATASET / f"{workbench.PLANS}.json").read_text())
    if args.device == "cuda":
        import torch

        trainer = build(args.peak_of, args.work, plans, args.device)
        batch = workbench.draw_batch(trainer)
        for _ in range(WARM_UP):
            trainer.train_step(batch)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()  # compiling and choosing algorithms is over
        for _ in range(WARM_UP):
            trainer.train_step(batch)
        torch.cuda.synchronize()
        print(json.dumps({"peak": torch.cuda.max_memory_allocated()}))
        return
    from nnunetv2_crln.training import variants  # noqa: F401 - code is no part of a method's memory

    before = workbench.resident("VmRSS")
    trainer = build(args.peak_of, args.work, plans, args.device, args.cpu_bfloat16)
    batch = workbench.draw_batch(trainer)
    for _ in range(WARM_UP):
        trainer.train_step(batch)
    print(json.dumps({"peak": workbench.resident("VmHWM") - before}))


# ---------------------------------------------------------------------------- report


def table(result: dict) -> str:
    target = TARGETS[result["device"]]
    lines = [
        f"### {result['setting']} ({result['device_name']})",
        "",
        f"Patch {'×'.join(map(str, result['patch_size']))}, {result['patches']} patches, torch {result['torch']}, "
        f"{result['repeats']} rounds, {result['clock']}.",
        "",
        "| step | s | peak MiB |",
        "|---|---|---|",
    ]
    for method, seconds in result["seconds"].items():
        memory = result["peak_bytes"].get(method)
        lines.append(f"| {method} | {seconds['median']:.4g} | {memory / 2**20:.0f} |" if memory else
                     f"| {method} | {seconds['median']:.4g} | |")  # fmt: skip
    lines += ["", "| ratio | median | quartiles | target |", "|---|---|---|---|"]
    for name, ratio in result["ratios"].items():
        goal = f"≤ {target[name]:.2f}" if name in target else ""
        lines.append(f"| {name} | {ratio['median']:.3f} | {ratio['q25']:.3f}–{ratio['q75']:.3f} | {goal} |")
    if {"crln", "nnunet"} <= result["peak_bytes"].keys():
        ratio = result["peak_bytes"]["crln"] / result["peak_bytes"]["nnunet"]
        lines.append(f"| memory crln/nnunet | {ratio:.3f} | | ≤ {target['memory crln/nnunet']:.2f} |")
    methods = list(result["parts"])
    names = list(dict.fromkeys(part for method in reversed(methods) for part in result["parts"][method]))
    lines += ["", f"| part, ms | {' | '.join(methods)} |", "|---|" + "---|" * len(methods)]
    for part in names:
        cells = [result["parts"][m].get(part) for m in methods]
        lines.append(f"| {part} | {' | '.join('' if c is None else f'{1000 * c:.1f}' for c in cells)} |")
    return "\n".join(lines) + "\n"


def measure(args: argparse.Namespace, work: Path) -> dict:
    import torch

    torch.set_num_threads(args.threads)
    if args.device == "cuda":
        torch.backends.cudnn.benchmark = True  # as nnU-Net's run_training
    setting = workbench.SETTINGS[args.setting]
    if args.labelled:
        setting = workbench.replace(setting, labelled=args.labelled)
    setting = setting.scaled(args.scale)
    workbench.set_paths(work)
    plans = workbench.write_cases(work, setting)
    clock = clock_of(args.clock, args.device)
    trainers = {m: build(m, work, plans, args.device, args.cpu_bfloat16) for m in args.methods}
    if args.channels_last:
        for trainer in trainers.values():
            for network in networks_of(trainer):
                network.to(memory_format=torch.channels_last_3d)
    batches = {m: workbench.draw_batch(t, pin_memory=args.device == "cuda") for m, t in trainers.items()}
    seconds = step_times(trainers, batches, clock, args.repeats)
    ratios = {
        f"{a}/{b}": workbench.quantiles([x / y for x, y in zip(seconds[a], seconds[b], strict=True)])
        for a, b in RATIOS
        if a in seconds and b in seconds
    }
    parts = {m: breakdown(t, batches[m], clock, max(3, args.repeats // 4)) for m, t in trainers.items()}
    del trainers
    peaks = {} if args.no_memory else {
        m: peak_memory(m, work, args.device, args.threads, args.cpu_bfloat16) for m in args.methods
    }  # fmt: skip
    return {
        "setting": args.setting,
        "device": args.device,
        "device_name": workbench.device_name(args.device),
        "torch": torch.__version__,
        "threads": args.threads,
        "clock": "wall time" if args.device == "cuda" or args.clock == "wall" else "CPU time",
        "bfloat16_on_cpu": args.cpu_bfloat16,
        "channels_last": args.channels_last,
        "patch_size": list(setting.patch_size),
        "patches": 2 * setting.labelled,
        "scale": args.scale,
        "repeats": args.repeats,
        "seconds": {m: workbench.quantiles(s) for m, s in seconds.items()},
        "ratios": ratios,
        "peak_bytes": peaks,
        "parts": parts,
    }


def save(result: dict, path: Path) -> None:
    """Add the result to the device's file, in place of an older one of the same setting, and write the tables."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = result["setting"] + ("_bfloat16" if result["bfloat16_on_cpu"] else "")
    results = json.loads(path.read_text()) if path.exists() else {}
    results[name] = result
    path.write_text(json.dumps(results, indent=1) + "\n")
    path.with_suffix(".md").write_text("\n".join(table(r) for r in results.values()), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setting", choices=sorted(workbench.SETTINGS), default="hippocampus")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--repeats", type=int, default=20, help="rounds; default: %(default)s")
    parser.add_argument("--scale", type=float, default=1.0, help="of the patch's sides, for small machines")
    parser.add_argument("--labelled", type=int, help="labelled patches in a batch; default: the setting's")
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU; default: %(default)s")
    parser.add_argument("--clock", choices=("cpu", "wall"), help="default: cpu with one thread, else wall")
    parser.add_argument("--cpu-bfloat16", action="store_true", help='the setting "cpu_bfloat16" (plain nnU-Net: none)')
    parser.add_argument("--channels-last", action="store_true", help="weights in channels_last_3d")
    parser.add_argument("--no-memory", action="store_true", help="leave out the processes that measure memory")
    parser.add_argument("-o", type=Path, help=f"default: {RESULTS}/DEVICE.json")
    parser.add_argument("--peak-of", choices=METHODS, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.clock = args.clock or ("cpu" if args.threads == 1 else "wall")
    if args.peak_of:
        import torch

        torch.set_num_threads(args.threads)
        workbench.set_paths(args.work)
        print_peak(args)
        return
    with tempfile.TemporaryDirectory() as work:
        result = measure(args, Path(work))
    print(table(result))
    save(result, args.o or RESULTS / f"{args.device}.json")


if __name__ == "__main__":
    main()
