"""Trainings on the pretended CUDA device, each in its variant: one JSON object a line for test_cuda_shape.py.

python tests/cuda_shape/variants.py [NAME ...]
"""

import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "cost"))

import fake_step
import pretended_cuda
import step_memory

FEATURES = (8, 16, 32, 64)


@dataclass(frozen=True)
class Variant:
    """One training.

    Attributes:
        trainer: Name after ``nnUNetTrainer_``.
        classes: Background included.
        ndim: Dimensions of the network.
        ignore_label: Whether dataset.json names one.
        labelled: Labelled patches.
        unlabelled: Unlabelled patches.
        norm: Of torch.nn, for the network; None: instance norm.
        crln: Settings.
    """

    trainer: str = "CRLN"
    classes: int = 3
    ndim: int = 3
    ignore_label: bool = False
    labelled: int = 2
    unlabelled: int = 2
    norm: str | None = None
    crln: dict[str, Any] = field(default_factory=dict)


VARIANTS = {
    "default": Variant(),
    "before rectification": Variant(crln={"rectification_start": 1000}),
    "60 classes": Variant(classes=60),
    "2d, ignore label, 20 classes": Variant(classes=20, ndim=2, ignore_label=True, labelled=6, unlabelled=4),
    "one patch of each kind": Variant(labelled=1, unlabelled=1),
    "mean teacher": Variant("MeanTeacher"),
    "nonlinear aggregation, dense representation": Variant(
        classes=9, crln={"aggregation": "nonlinear", "representation_kernel": 3}
    ),
    "own weights of classes, fixed rectification": Variant(
        crln={"shared_classes": False, "integration": False, "rectification": "fixed"}
    ),
    "concatenation, gradient into features, student deployed": Variant(
        crln={"rectification": "concat", "detach_features": False, "deploy": "student"}
    ),
    "nnU-Net's loss of pseudo labels, gradients looked at": Variant(
        crln={"pseudo_label_loss": "nnunet", "gradient_norm_every": 1, "cps_balance": "gradient"}
    ),
    "image prototypes": Variant(crln={"rectification": "image", "rectification_start": 0}),
    "image prototypes, 2d, 20 classes": Variant(
        classes=20, ndim=2, labelled=6, unlabelled=4, crln={"rectification": "image", "rectification_start": 0}
    ),
    "batch norm": Variant(norm="BatchNorm3d"),
    "SyncBatchNorm of one process": Variant(norm="SyncBatchNorm"),
    "protocol of the article, V-Net's batch norm": Variant("CRLN_article", classes=2, norm="BatchNorm3d"),
}


def main() -> None:
    pretended_cuda.restart()
    os.environ["nnUNet_compile"] = "False"
    for name in sys.argv[1:] or VARIANTS:
        with tempfile.TemporaryDirectory() as folder:
            try:
                result = run(VARIANTS[name], Path(folder))
            except Exception:
                result = {"error": traceback.format_exc()}
        print(json.dumps({"name": name, **result}), flush=True)


def run(variant: Variant, work: Path) -> dict[str, Any]:
    """Take two steps and all else that a training does on the device."""
    from nnunetv2_crln.training import variants

    patch = (32,) * variant.ndim
    plans = fake_step.write_dataset(work, variant.classes, variant.ignore_label)
    plans = fake_step.plans_for(plans, patch, FEATURES, variant.labelled, **variant.crln)
    if variant.norm:
        kwargs = plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
        kwargs["norm_op"] = f"torch.nn.{variant.norm}"
    with fake_step.fake_tensors():
        trainer = fake_step.build_trainer(getattr(variants, f"nnUNetTrainer_{variant.trainer}"), work, plans)
        batch = fake_step.batch_for(trainer, patch, variant.labelled, variant.unlabelled)
        trainer.train_step(batch)
        copies: list[str] = []
        with copies_to_the_device(copies):
            losses = trainer.train_step(batch)
        return {
            "losses": {key: [str(value.device), str(value.dtype)] for key, value in losses.items()},
            "copies": copies,
            "scaler": type(trainer.grad_scaler).__name__,
            "fused": trainer.optimizer.param_groups[0]["fused"],
            "parameters": sorted({f"{p.dtype} {p.device.type}" for p in all_parameters(trainer)}),
            **{name: action(trainer, batch) for name, action in AFTERWARDS.items()},
        }


def all_parameters(trainer: Any) -> list:
    method = trainer.method
    modules = (trainer.network, method.teacher.module, method.heads, method.teacher_heads.module, method.rectifier)
    return [p for module in modules for p in module.parameters()]


def copies_to_the_device(found: list[str]) -> Any:
    """Return a dispatch mode that notes where a step copies from the host, but for the batch."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Copies(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if function is torch.ops.aten._to_copy.default and args[0].device != result.device:
                place = step_memory.place_of(function)
                if not place.endswith(" moved"):  # Batch.on_device
                    found.append(f"{place}: {args[0].device} to {result.device}")
            return result

    return Copies()


# ---------------------------------------------------------------------------- what follows the steps


def validate(trainer: Any, batch: dict) -> list[str]:
    """Return the keys of a validation step's result."""
    with fake_step.values_on_the_host():
        return sorted(trainer.validation_step({key: batch[key] for key in ("data", "target")}))


def monitor(trainer: Any, batch: dict) -> list[int]:
    """Return the shape of the pseudo label that monitoring sees of one patch."""
    import numpy as np

    from nnunetv2_crln.training.monitoring.patch_teacher import PatchTeacher
    from nnunetv2_crln.training.monitoring.patches import Patch

    shape = tuple(batch["data"].shape[1:])
    patch = Patch("case", np.zeros(shape, np.float32), np.ones(shape[1:], bool), None, (1.0,) * len(shape[1:]), ())
    with fake_step.values_on_the_host():
        seen = PatchTeacher(trainer.method, trainer.device, trainer.autocast, trainer.label_manager)(
            patch, rectifying=True, with_map=True
        )
    return list(seen.rectified.labels.shape)


def checkpoint(trainer: Any, batch: dict) -> list[str]:
    """Return the devices of the tensors after the state went to the host and back, and a step with it."""
    import torch

    def on(device: str, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.to(device)
        if isinstance(value, dict):
            return {key: on(device, item) for key, item in value.items()}
        return [on(device, item) for item in value] if isinstance(value, list) else value

    state, momentum = on("cpu", trainer.method.state_dict()), on("cpu", trainer.optimizer.state_dict())
    trainer.method.load_state_dict(on("cuda", state))
    trainer.optimizer.load_state_dict(momentum)
    trainer.train_step(batch)
    return sorted({value.device.type for entry in trainer.optimizer.state.values() for value in entry.values()})


AFTERWARDS: dict[str, Callable[[Any, dict], Any]] = {
    "validation": validate,
    "monitoring": monitor,
    "checkpoint": checkpoint,
}

if __name__ == "__main__":
    main()
