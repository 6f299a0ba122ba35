"""All that a GPU has to tell, in one command and a given time.

    python benchmarks/gpu.py --minutes 25 --out DIR [--raw nnUNet_raw/Dataset101_LeftAtrium …]
    python benchmarks/gpu.py --minutes 2 --out DIR --device cpu

Doctor, tests that need a GPU, waits within a step, time and memory of a step (plain nnU-Net, mean teacher, CRLN; eager,
compiled, channels last), the paper's way beside ours, the aggregation by classes and prototypes, loader and
preprocessing on all cores, and in the time that is left real trainings: nnU-Net's own plan, and for a left atrium
dataset the paper's protocol with its V-Net. Without ``--raw`` a dataset of generated hearts is trained.

Results are JSON files in DIR and one page, README.md. A step that fails or takes too long does not end the others.
The same command again does what is not done yet and continues the trainings from their checkpoints. Nothing is needed
but this package's dependencies; the tests are left out where pytest is missing, and on the CPU. On a CPU everything is
so small that the numbers mean nothing: it shows whether the commands work.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from guarded_steps import Step, Steps

from nnunetv2_crln.layout import dataset_number, dataset_title

HERE = Path(__file__).resolve().parent
GENERATED = "Dataset999_DemoHeart"
LEFT_ATRIUM = "LeftAtrium"
"""Title of the dataset that the paper's protocol is for."""
PROTOCOL = "left_atrium"
"""Name of that protocol."""
LEAST_SECONDS = 40
"""Importing torch and nnU-Net takes a busy computer a quarter of a minute, whatever a step measures then."""


def measuring_steps(out: Path, device: str) -> list[Step]:
    """Return the steps that look at the installation and measure costs."""
    cpu, cores = device == "cpu", str(os.cpu_count())
    smaller = ["--scale", "0.25", "--repeats", "1", "--no-memory"] if cpu else ["--repeats", "12"]
    setting = "hippocampus" if cpu else "left_atrium"
    few = ["--methods", "nnunet", "mean_teacher", "crln"]

    def script(name: str, question: str, file: str, *arguments: str, share: float, **environment: str) -> Step:
        result = out / f"{name}.json"
        command = ["python", str(HERE / "cost" / file), *arguments, "-o", str(result)]
        return Step(name, question, command, share, environment, result)

    def step_time(name: str, question: str, *arguments: str, share: float, compiled: bool = False) -> Step:
        known = ("--setting", setting, "--device", device, *smaller)
        return script(
            name, question, "step_time.py", *known, *arguments, share=share, nnUNet_compile=str(compiled).lower()
        )

    def doctor() -> Step:
        code = "from nnunetv2_crln.cli.doctor import main; main([])"
        return Step("doctor", "Is the installation sound?", ["python", "-c", code], 0.03, nnunet_folders(out))

    steps = [
        doctor(),
        script("step_sync", "Does a step wait for the device?", "step_sync.py", "--device", device, share=0.08),
        step_time("step_time", "Time and memory of an eager step", share=0.15),
        step_time("step_time_compiled", "The same with torch.compile", *few, "--no-memory", share=0.2, compiled=True),
        step_time("step_time_channels_last", "Channels last", *few, "--no-memory", "--channels-last", share=0.08),
        script("paper_way", "The paper's step beside ours", "paper_way.py", "--device", device,
               *(["--scale", "0.25", "--repeats", "1", "--no-memory"] if cpu else []), share=0.1),
        script("dim_scaling", "The aggregation by classes and prototypes", "dim_scaling.py", "--device", device,
               *(["--grids", "16", "--classes", "3", "--prototypes", "4"] if cpu else []), share=0.08),
        script("loader_throughput", "Batches a second, by number of workers", "loader_throughput.py",
               "--setting", setting, "--workers", cores, *(["--draws", "4"] if cpu else []), share=0.08),
        script("preprocessing_scaling", "Preprocessing with one process and on all cores", "preprocessing_scaling.py",
               "--processes", "1", cores, *(["--cases", "2", "--size", "32"] if cpu else []), share=0.08),
    ]  # fmt: skip
    if importlib.util.find_spec("pytest") and not cpu:
        tests = ("tests/unit/training", "tests/integration/test_compile_and_autocast.py")
        command = ["python", "-m", "pytest", "-m", "gpu", *(str(HERE.parent / path) for path in tests)]
        steps.insert(1, Step("tests", "Do the tests that need a GPU pass?", command, 0.12))
    return steps


def nnunet_folders(out: Path) -> dict[str, str]:
    """Return nnU-Net's three variables for folders of this run, which are made."""
    folders = {name: out / "work" / name for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    return {name: str(folder) for name, folder in folders.items()}


def training_steps(out: Path, raw: Path, device: str) -> list[Step]:
    """Return planning and training of one dataset; both go on where an earlier call was stopped."""
    name = dataset_title(raw.name)
    environment = {
        **nnunet_folders(out),
        "nnUNet_raw": str(raw.parent),
        "nnUNet_extTrainer": str(HERE.parent / "nnunetv2_crln" / "nnunet_trainers"),
    }
    prepare = ["python", str(Path(__file__).resolve()), "--prepare", str(raw)]
    share = 1.0 if device == "cpu" else 0.3  # two minutes are short for it
    steps = [Step(f"plan_{name}", "Plan and preprocess", prepare, share, environment)]
    trainings = [("3d_fullres", "nnUNetTrainer_CRLN", "nnU-Net's own plan")]
    if name.startswith(LEFT_ATRIUM):
        trainings.insert(0, ("3d_article", "nnUNetTrainer_CRLN_article", "the paper's protocol"))
    for configuration, trainer, what in trainings:
        arguments = [dataset_number(raw.name), configuration, "all", "-tr", trainer, "-device", device, "--c"]
        code = "import sys; from nnunetv2.run.run_training import run_training_entry as main; main()"
        command = ["python", "-c", code, *arguments]
        steps.append(Step(f"train_{name}_{configuration}", f"Training, {what}", command, 1.0, environment))
    return steps


def planning_arguments(raw: Path) -> list[str]:
    """Return the arguments of nnUNetv2_crln_plan_and_preprocess for one dataset."""
    arguments = ["-d", dataset_number(raw.name), "-c", "3d_fullres", "-np", str(os.cpu_count())]
    return [*arguments, "--article", PROTOCOL] if LEFT_ATRIUM in raw.name else arguments


def prepare(raw: Path) -> None:
    """Write the generated dataset unless there is one, plan and preprocess, and let every epoch be saved."""
    from nnunetv2_crln.cli.plan_and_preprocess import main as plan_and_preprocess
    from nnunetv2_crln.demo.dataset import write_demo_dataset
    from nnunetv2_crln.demo.settings import DemoSettings

    if raw.name == GENERATED and not (raw / "dataset.json").exists():
        usual = DemoSettings()
        write_demo_dataset(raw, usual.labelled, usual.unlabelled, held_out=0)
    plan_and_preprocess(planning_arguments(raw))
    path = Path(os.environ["nnUNet_preprocessed"]) / raw.name / "nnUNetPlans.json"
    plans = json.loads(path.read_text(encoding="utf-8"))
    for name in {"3d_fullres", "3d_article"} & plans["configurations"].keys():
        block = plans["configurations"][name].setdefault("crln", {})
        block.update(save_every=1, seed=0)
    path.write_text(json.dumps(plans, indent=4) + "\n", encoding="utf-8")


def facts(device: str, arguments: Sequence[str]) -> dict[str, str]:
    """Return what a reader of the page has to know."""
    import torch

    sys.path.insert(0, str(HERE / "cost"))
    import workbench

    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=HERE, capture_output=True, text=True).stdout.strip()
    return {
        "command": f"`python benchmarks/gpu.py {' '.join(arguments)}`",
        "device": workbench.device_name(device),
        "cores": str(os.cpu_count()),
        "software": f"Python {platform.python_version()}, torch {torch.__version__}, CUDA {torch.version.cuda}",
        "commit": commit or "unknown",
        "written": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=25, help="for everything; default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("gpu_results"))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--raw", type=Path, nargs="+", help="raw datasets to train on; default: generated hearts")
    parser.add_argument("--steps", nargs="+", metavar="STEP", help="only these; default: all")
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.prepare:
        prepare(args.prepare)
        return
    out = args.out.resolve()
    raw = [path.resolve() for path in args.raw or [out / "work" / "nnUNet_raw" / GENERATED]]
    steps = measuring_steps(out, args.device)
    for path in raw:
        steps += training_steps(out, path, args.device)
    if args.steps:
        if unknown := sorted(set(args.steps) - {step.name for step in steps}):
            parser.error(f"--steps {unknown[0]}: expected some of {', '.join(step.name for step in steps)}")
        steps = [step for step in steps if step.name in args.steps]
    guarded = Steps(out, args.minutes, LEAST_SECONDS)
    guarded.run(steps)
    heading = "What a GPU has to tell" if args.device == "cuda" else "A trial on the CPU"
    page = guarded.write_page(steps, heading, facts(args.device, arguments or sys.argv[1:]))
    print(page)


if __name__ == "__main__":
    main()
