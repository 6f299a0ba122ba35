"""Does preprocessing of unlabelled cases become faster with more processes (``-np``)?

    python benchmarks/cost/preprocessing_scaling.py [--cases 16] [--size 96] [--processes 1 2] [-o result.json]

Random images are resampled to another spacing, as most real ones are. The time includes the start of the processes,
which counts for less with more cases: ``first_case_s`` is when the first case was done.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import workbench

RESULT = Path(__file__).parents[1] / "results" / "preprocessing_scaling.json"


def write_raw(raw: Path, cases: int, size: int) -> Path:
    import SimpleITK as sitk

    folder = raw / workbench.DATASET
    (folder / "imagesUl").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(cases):
        image = sitk.GetImageFromArray(rng.standard_normal((size,) * 3, np.float32))
        image.SetSpacing((1.3, 1.3, 1.3))
        sitk.WriteImage(image, str(folder / "imagesUl" / f"unl_{index:03d}_0000.nii.gz"))
    setting = workbench.SETTINGS["hippocampus"]
    (folder / "dataset.json").write_text(json.dumps(workbench.dataset_json(setting, labelled=0)))
    return folder


def measure(raw: Path, preprocessed: Path, processes: int) -> dict:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from nnunetv2_crln.plan_and_preprocess.unlabelled_cases import preprocess_unlabelled
    from nnunetv2_crln.utilities import parallel

    plans = PlansManager(copy.deepcopy(workbench.plans_of(workbench.SETTINGS["hippocampus"])))
    done: list[float] = []
    run_parallel = parallel.run_parallel

    def noting_times(*arguments, **keywords):
        for outcome in run_parallel(*arguments, **keywords):
            done.append(time.perf_counter() - start)
            yield outcome

    parallel.run_parallel = noting_times
    start = time.perf_counter()
    try:
        result = preprocess_unlabelled(
            raw, preprocessed, plans, workbench.CONFIGURATION, processes, show_progress=False
        )
    finally:
        parallel.run_parallel = run_parallel
    if result.failed:
        raise RuntimeError(str(result.failed))
    return {"processes": processes, "seconds": done[-1], "first_case_s": done[0]}


def speed_up(rows: list[dict]) -> dict[str, float]:
    """Return the speed-up of the last run over the first one: in all, and from the first finished case on."""
    first, last = rows[0], rows[-1]
    after_start = [row["seconds"] - row["first_case_s"] for row in (first, last)]
    return {
        "speed_up": first["seconds"] / last["seconds"],
        "speed_up_after_first_case": after_start[0] / after_start[1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=16)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("-o", type=Path, default=RESULT)
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        workbench.set_paths(folder)
        raw = write_raw(Path(folder) / "raw", args.cases, args.size)
        for processes in args.processes:
            rows.append(measure(raw, Path(folder) / f"preprocessed_{processes}", processes))
            print(json.dumps(rows[-1]), flush=True)
    result = {
        "cases": args.cases,
        "size": args.size,
        "device_name": workbench.device_name("cpu"),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "runs": rows,
        **speed_up(rows),
    }
    args.o.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
