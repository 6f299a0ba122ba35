"""Time the evaluation of left-atrium-sized cases.

Command: python benchmarks/cost/evaluation_speed.py          (about half a minute on 2 cores)
Expected: under 60 s for 20 cases of 200×150×90 voxels with 2 processes.
Result: benchmarks/results/evaluation_speed.json

Labels are ellipsoids with the bounding box of a left atrium and its veins, predictions are shifted, rougher ones. The
time is that of `evaluate_folder`: start of the workers, reading, all metrics in voxels and mm, bootstrap.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy
import SimpleITK as sitk
from scipy import ndimage

from nnunetv2_crln.evaluation.folder import evaluate_folder

SHAPE = (90, 150, 200)  # z, y, x
RADII = (30, 48, 55)


def ellipsoid(rng: np.random.Generator, roughness: float) -> np.ndarray:
    """Mask of SHAPE with a randomly shifted, uneven surface."""
    axes = np.ogrid[tuple(slice(0, size) for size in SHAPE)]
    centre = [size / 2 + rng.uniform(-3, 3) for size in SHAPE]
    distance = sum(((axis - middle) / radius) ** 2 for axis, middle, radius in zip(axes, centre, RADII))
    bumps = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 3)
    return distance + roughness * bumps / bumps.std() < 1


def write_cases(folder: Path, count: int, isotropic: bool) -> None:
    """Write labelsTr, predictions and dataset.json."""
    rng = np.random.default_rng(0)
    for name, roughness in (("labelsTr", 0.05), ("predictions", 0.1)):
        (folder / name).mkdir()
        for index in range(count):
            image = sitk.GetImageFromArray(ellipsoid(rng, roughness).astype(np.uint8))
            image.SetSpacing((0.625, 0.625, 0.625 if isotropic else 1.25))
            sitk.WriteImage(image, str(folder / name / f"la_{index:03d}.nii.gz"))
    dataset = {"labels": {"background": 0, "atrium": 1}, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(dataset))


def timed(cases: int, processes: int, isotropic: bool, repeats: int) -> dict:
    """Seconds of `evaluate_folder`, median and all repeats."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_cases(folder, cases, isotropic)
        seconds, cpu_seconds = [], []
        for _ in range(repeats):
            start, cpu_start = time.perf_counter(), cpu_time()
            evaluate_folder(folder / "labelsTr", folder / "predictions", num_processes=processes, show_progress=False)
            seconds.append(round(time.perf_counter() - start, 2))
            cpu_seconds.append(round(cpu_time() - cpu_start, 2))
    return {
        "isotropic": isotropic,
        "median_s": statistics.median(seconds),
        "all_s": seconds,
        "median_cpu_s": statistics.median(cpu_seconds),  # all processes together; hardly depends on other load
    }


def cpu_time() -> float:
    """Seconds that this process and its finished workers have computed."""
    return sum(os.times()[:4])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("-o", type=Path, default=Path(__file__).parents[1] / "results" / "evaluation_speed.json")
    arguments = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, encoding="utf-8", cwd=Path(__file__).parent
    )
    result = {
        "command": "python " + " ".join(["benchmarks/cost/evaluation_speed.py", *sys.argv[1:]]),
        "commit": commit.stdout.strip(),
        "hardware": f"{os.cpu_count()} CPU cores, {platform.machine()}",
        "load_average_1min": round(os.getloadavg()[0], 1),  # what else the machine was doing at the start
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__},
        "cases": arguments.cases,
        "shape_xyz": SHAPE[::-1],
        "processes": arguments.processes,
        "runs": [
            timed(arguments.cases, arguments.processes, isotropic, arguments.repeats) for isotropic in (True, False)
        ],
    }
    arguments.o.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["runs"], indent=2))


if __name__ == "__main__":
    main()
