"""How much GPU memory and arithmetic does a step take beside plain nnU-Net's, without a GPU?

    python benchmarks/cost/step_memory.py [--patch 128 128 128] [--classes 3 15 60] [--methods crln] [-o result.json]

Real trainers take steps on fake tensors of a pretended CUDA device (fake_step.py), eager, with fp16 autocast. Counted
is every tensor that PyTorch allocates from the second step on, with weights, gradients and momentum; plain nnU-Net gets
labelled + unlabelled patches as if all were labelled. Not counted: cuDNN's workspaces, fragmentation, the CUDA
context, and what torch.compile would fuse away. Trust ratios and the sizes of single tensors.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import fake_step
import pretended_cuda

RESULT = Path(__file__).parents[1] / "results" / "step_memory.json"
METHODS = ("nnunet", "mean_teacher", "crln_no_cps", "crln")
FEATURES = (32, 64, 128, 256, 320, 320)
TARGETS = {15: 1.10, 60: 1.15}
"""Largest peak of CRLN as a multiple of plain nnU-Net's, by number of classes."""


def ledger() -> Any:
    """Return a dispatch mode that counts the bytes alive on the device."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Ledger(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.now = self.peak = 0
            self.alive: Counter = Counter()  # bytes by the line of code that made them
            self.at_peak: Counter = Counter()
            self.seen: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()

        def start_over(self) -> None:
            """Forget the peak; what is alive stays counted."""
            self.peak, self.at_peak = self.now, Counter(self.alive)

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            # The backward pass of indexing works in place on tensors that are not fake.
            if function is not torch.ops.aten.index_put.default:
                for tensor in out if isinstance(out, (tuple, list)) else [out]:
                    if isinstance(tensor, torch.Tensor) and tensor.device.type == "cuda":
                        self._note(tensor.untyped_storage(), place_of(function))
            return out

        def _note(self, storage, place: str) -> None:
            if storage in self.seen:
                return
            size = storage.nbytes()
            self.seen[storage] = size
            self.now += size
            self.alive[place] += size
            weakref.finalize(storage, self._free, size, place)
            if self.now > self.peak:
                self.start_over()

        def _free(self, size: int, place: str) -> None:
            self.now -= size
            self.alive[place] -= size

    return Ledger()


def place_of(function: Any) -> str:
    """Return the innermost line of this package or nnU-Net that asked for an operation; its name in a backward pass."""
    frame = sys._getframe(2)
    while frame is not None:
        name, caller = frame.f_code.co_filename, frame.f_code.co_name
        if name.endswith("gradient_step.py") or (name.endswith("nnUNetTrainer.py") and caller == "train_step"):
            break
        if "dynamic_network_architectures" in name:
            return "network"
        if "nnunetv2_crln" in name or f"nnunetv2{os.sep}training" in name:
            return f"{Path(name).name}:{frame.f_lineno} {caller}"
        frame = frame.f_back  # type: ignore[assignment]
    return f"backward or optimiser: {function.overloadpacket.__name__}"


def measure(
    method: str, patch: tuple[int, ...], features: tuple[int, ...], patches: int, work: Path, plans: dict
) -> dict:
    """Return peak and resting bytes, FLOPs and the largest holders at the peak of a method's third step.

    Args:
        method: One of METHODS.
        patch: Voxels.
        features: Channels of the network's stages.
        patches: Labelled patches, and as many unlabelled ones.
        work: Folder of :func:`fake_step.write_dataset`.
        plans: As returned there.
    """
    from step_time import class_of
    from torch.utils.flop_counter import FlopCounterMode

    labelled = 2 * patches if method == "nnunet" else patches
    plans = fake_step.plans_for(plans, patch, features, labelled)
    with fake_step.fake_tensors(), ledger() as book:
        trainer = fake_step.build_trainer(class_of(method), work, plans)
        batch = fake_step.batch_for(trainer, patch, labelled, patches)
        # Plain nnU-Net's step reads the loss and the scaler's verdict; CRLN's reads nothing.
        with fake_step.values_on_the_host():
            trainer.train_step(batch)
            trainer.train_step(batch)
            book.start_over()
            trainer.train_step(batch)
            found = {"peak_bytes": book.peak, "resting_bytes": book.now}
            found["at_peak"] = dict(book.at_peak.most_common(12))
            # In a step of its own: counting takes operators apart and keeps tensors that a step would release.
            with FlopCounterMode(display=False) as flops:
                trainer.train_step(batch)
        return {**found, "flops": flops.get_total_flops()}


def table(results: dict[str, dict[str, dict]]) -> str:
    """Return the ratios to plain nnU-Net as a Markdown table."""
    lines = [f"| | FLOPs | {' | '.join(f'peak, {c} classes' for c in results)} |", "|---|---|" + "---|" * len(results)]
    for method in next(iter(results.values())):
        ratios = [of[method]["flops"] / of["nnunet"]["flops"] for of in results.values()]
        cells = [
            f"{of['nnunet']['peak_bytes'] / 2**30:.2f} GiB" if method == "nnunet"
            else f"{of[method]['peak_bytes'] / of['nnunet']['peak_bytes']:.3f}"
            for of in results.values()
        ]  # fmt: skip
        lines.append(f"| {method} | {' / '.join(f'{r:.2f}' for r in ratios)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patch", type=int, nargs=3, default=[128, 128, 128])
    parser.add_argument("--features", type=int, nargs="+", default=list(FEATURES))
    parser.add_argument("--patches", type=int, default=2, help="labelled ones; as many unlabelled ones")
    parser.add_argument("--classes", type=int, nargs="+", default=[3, 15, 60])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="nnunet comes always")
    parser.add_argument("-o", type=Path, default=RESULT)
    args = parser.parse_args()
    pretended_cuda.restart()
    os.environ["nnUNet_compile"] = "False"
    results: dict[str, dict[str, dict]] = {}
    for classes in args.classes:
        results[str(classes)] = {}
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            plans = fake_step.write_dataset(work, classes)
            for method in dict.fromkeys(("nnunet", *args.methods)):
                found = measure(method, tuple(args.patch), tuple(args.features), args.patches, work, plans)
                results[str(classes)][method] = found
                print(f"{classes} classes, {method}: {found['peak_bytes'] / 2**30:.2f} GiB", flush=True)
                for place, size in found["at_peak"].items():
                    print(f"{size / 2**20:9.0f} MiB  {place}")
    print(table(results))
    import torch

    content = {
        "patch_size": args.patch,
        "features": args.features,
        "patches": 2 * args.patches,
        "torch": torch.__version__,
        "classes": results,
    }
    args.o.write_text(json.dumps(content, indent=1) + "\n")
    args.o.with_suffix(".md").write_text(table(results), encoding="utf-8")


if __name__ == "__main__":
    main()
