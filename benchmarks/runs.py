"""Parts that benchmarks of whole trainings share: a queue of runs that may be stopped, prediction, result files."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


def set_paths(work: Path) -> None:
    """Point nnU-Net's three folders into ``work``; one process for everything."""
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(work / name)
        (work / name).mkdir(parents=True, exist_ok=True)
    os.environ["nnUNet_def_n_proc"] = "1"
    os.environ.setdefault("nnUNet_n_proc_DA", "1")


def segmenter(trainer, network, step_size: float = 0.5) -> Callable[[Path], np.ndarray]:
    """Function from an image file to its segmentation, nnU-Net's sliding window without mirroring."""
    import torch
    from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(tile_step_size=step_size, use_mirroring=False, device=trainer.device, allow_tqdm=False)
    predictor.manual_initialization(
        network.eval(),
        trainer.plans_manager,
        trainer.configuration_manager,
        None,
        trainer.dataset_json,
        type(trainer).__name__,
        None,
    )
    preprocessor = trainer.configuration_manager.preprocessor_class(verbose=False)

    def segment(image: Path) -> np.ndarray:
        data, _, properties = preprocessor.run_case(
            [str(image)], None, trainer.plans_manager, trainer.configuration_manager, trainer.dataset_json
        )
        logits = predictor.predict_sliding_window_return_logits(torch.from_numpy(data)).cpu()
        return convert_predicted_logits_to_segmentation_with_correct_shape(
            logits,
            trainer.plans_manager,
            trainer.configuration_manager,
            trainer.label_manager,
            properties,
            num_threads_torch=1,
        )

    return segment


def networks(trainer) -> dict:
    """Return the networks that could be deployed, without deep supervision."""
    from nnunetv2_crln.modules.rectified_network import RectifiedNetwork
    from nnunetv2_crln.training.method import unwrap
    from nnunetv2_crln.training.trainer import nnUNetTrainer_CRLN

    student = unwrap(trainer.network)
    student.decoder.deep_supervision = False
    if not isinstance(trainer, nnUNetTrainer_CRLN):
        return {"student": student}
    trainer.method.teacher.module.decoder.deep_supervision = False
    found = {"teacher": trainer.method.teacher.module, "student": student}
    if trainer.settings.dim:
        found["rectified_teacher"] = RectifiedNetwork(
            trainer.method.teacher.module, trainer.method.teacher_heads.module.dim, trainer.method.rectifier
        )
    return found


def environment() -> dict:
    """Return what a number in a result file depends on besides its settings."""
    from importlib.metadata import version

    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, encoding="utf-8", check=False
    )
    return {
        "commit": commit.stdout.strip(),
        "python": platform.python_version(),
        "cpu": platform.processor() or platform.machine(),
        **{package: version(package) for package in ("nnunetv2", "torch", "numpy", "batchgeneratorsv2")},
    }


def write_result(result: dict, file: Path) -> None:
    """Write JSON; a reader never sees half of it."""
    from nnunetv2_crln.training.checkpoint import plain

    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(plain(result)))
    os.replace(temporary, file)


def link(source: Path, target: Path) -> None:
    """Let ``target`` point to a file, whatever stood there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    target.symlink_to(source.resolve())


@dataclass(frozen=True)
class Run:
    """One entry of a queue.

    Attributes:
        name: Name of its lock and log.
        result: File that the run writes at its end; a run that has it is never repeated.
        command: Starts it.
        needs: Another run without whose result this one cannot start.
    """

    name: str
    result: Path
    command: Sequence[str]
    needs: Run | None = None


def run_queue(queue: Sequence[Run], work: Path, jobs: int) -> None:
    """Start each missing run in its own process, ``jobs`` at a time, on one thread each.

    A lock file keeps several queues over the same folder apart; a run that another queue does is left to it.

    Args:
        queue: In the order to start them.
        work: Folder for locks and logs.
        jobs: How many at a time.
    """
    waiting = list(queue)
    locks = work / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    running: list[tuple[subprocess.Popen, Path, str]] = []
    while waiting or running:
        for entry in list(running):
            process, lock, name = entry
            if process.poll() is not None:
                running.remove(entry)
                lock.unlink(missing_ok=True)
                print(f"{time.strftime('%H:%M:%S')} {name}: exit {process.returncode}", flush=True)
        for run in list(waiting):
            if len(running) >= jobs:
                break
            if run.result.exists():
                waiting.remove(run)
                continue
            if run.needs is not None and not run.needs.result.exists():
                in_progress = run.needs in waiting or (locks / run.needs.name).exists()
                if not in_progress:
                    waiting.remove(run)
                    print(f"{run.name}: needs {run.needs.name} first", flush=True)
                continue
            waiting.remove(run)
            lock = locks / run.name
            try:
                lock.touch(exist_ok=False)
            except FileExistsError:
                continue
            running.append((_start(run.command, work / f"{run.name}.log"), lock, run.name))
        time.sleep(1)


def _start(command: Sequence[str], log: Path) -> subprocess.Popen:
    threads = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return subprocess.Popen(list(command), stdout=log.open("w"), stderr=subprocess.STDOUT, env=threads)


def parse_override(text: str) -> tuple[str, object]:
    """``key=JSON`` of a command line, such as ``cps_weight=1``."""
    key, _, value = text.partition("=")
    return key, json.loads(value)
