"""Does a training step wait for the GPU anywhere?

    python benchmarks/cost/step_sync.py --device cuda [-o result.json]

Steps under ``torch.cuda.set_sync_debug_mode("error")``, of each method, after a few that make libraries and buffers.
On a CPU nothing can wait and the steps are only run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import traceback
from pathlib import Path

import workbench

SETTING = workbench.Setting((32, 32, 32), (8, 16, 32, 64), 2, (1, 1, 1, 1))


def steps(method: str, work: Path, plans: dict, device: str) -> str:
    """Return "no wait", or where the step waits."""
    import torch
    from step_time import build

    trainer = build(method, work, plans, device)
    batch = workbench.draw_batch(trainer, pin_memory=device == "cuda")
    for _ in range(3):
        trainer.train_step(batch)
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            trainer.train_step(batch)
    except RuntimeError:
        return traceback.format_exc(limit=-3)
    finally:
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    return "no wait"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--methods", nargs="+", default=["mean_teacher", "crln"])
    parser.add_argument("-o", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        workbench.set_paths(work)
        plans = workbench.write_cases(work, SETTING)
        found = {method: steps(method, work, plans, args.device) for method in args.methods}
    print(json.dumps(found, indent=1))
    if args.o:
        args.o.write_text(json.dumps(found, indent=1) + "\n")
    raise SystemExit(any(place != "no wait" for place in found.values()))


if __name__ == "__main__":
    main()
