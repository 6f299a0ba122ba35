"""Real trainers on fake tensors of a pretended CUDA device (pretended_cuda.py): a step without a value.

Used by step_memory.py and by tests/cuda_shape.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import workbench

WRITTEN = workbench.Setting((16,) * 3, (4, 8, 8), 2, (1, 1, 1))
"""What lies on the disk: trainers look at its descriptions, never at an image."""


def write_dataset(work: Path, num_classes: int, ignore_label: bool = False) -> dict:
    """Write a preprocessed dataset with that many classes.

    Args:
        work: New folder.
        num_classes: Background included.
        ignore_label: Whether dataset.json names one.

    Returns:
        The plans, of a small network.
    """
    workbench.set_paths(work)
    plans = workbench.write_cases(work, workbench.replace(WRITTEN, num_classes=num_classes))
    if ignore_label:
        path = work / "preprocessed" / workbench.DATASET / "dataset.json"
        description = json.loads(path.read_text())
        description["labels"]["ignore"] = num_classes
        path.write_text(json.dumps(description))
    return plans


def plans_for(
    plans: dict, patch: Sequence[int], features: Sequence[int], labelled: int, convolutions: int = 2, **crln: Any
) -> dict:
    """Return plans with another patch and network.

    Args:
        plans: As written; left unchanged.
        patch: Voxels; two of them make a 2d network.
        features: Channels of each stage; every stage but the first halves the resolution.
        labelled: Labelled patches in a batch.
        convolutions: Of each stage.
        **crln: Settings of CRLN.
    """
    plans = copy.deepcopy(plans)
    configuration = plans["configurations"][workbench.CONFIGURATION]
    ndim, stages = len(patch), len(features)
    configuration.update(patch_size=list(patch), batch_size=labelled, spacing=[1.0] * ndim, crln=crln)
    configuration["architecture"]["arch_kwargs"].update(
        n_stages=stages,
        features_per_stage=list(features),
        kernel_sizes=[[3] * ndim] * stages,
        strides=[[1] * ndim] + [[2] * ndim] * (stages - 1),
        n_conv_per_stage=[convolutions] * stages,
        n_conv_per_stage_decoder=[convolutions] * (stages - 1),
        conv_op=f"torch.nn.modules.conv.Conv{ndim}d",
        norm_op=f"torch.nn.modules.instancenorm.InstanceNorm{ndim}d",
    )
    return plans


@contextlib.contextmanager
def fake_tensors() -> Iterator[Any]:
    """Let every new tensor be a fake one for the length of the block, and modules cope with that."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from nnunetv2_crln.modules import upsampling

    def apply(self, function, recurse=True):
        # Module.to and copies of buffers change tensors in place, which fake ones refuse.
        for module in self.modules():
            for key, parameter in module._parameters.items():
                if parameter is not None:
                    with torch.no_grad():
                        moved = function(parameter)
                    module._parameters[key] = torch.nn.Parameter(moved, parameter.requires_grad)
            for key, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[key] = function(buffer)
        return self

    def deepcopy(self, memo):
        memo[id(self)] = copied = self.detach().clone().requires_grad_(self.requires_grad)
        return copied

    original = torch.nn.Module._apply, torch.Tensor.__deepcopy__
    torch.nn.Module._apply, torch.Tensor.__deepcopy__ = apply, deepcopy
    FakeTensorMode.__deepcopy__ = lambda self, memo: self  # a copied tensor stays in its mode
    upsampling._interpolation_matrix.cache_clear()  # holds tensors of another mode
    try:
        with FakeTensorMode() as mode:
            yield mode
    finally:
        upsampling._interpolation_matrix.cache_clear()
        torch.nn.Module._apply, torch.Tensor.__deepcopy__ = original
        del FakeTensorMode.__deepcopy__


@contextlib.contextmanager
def values_on_the_host() -> Iterator[None]:
    """Let fake tensors be read on the host for the length of the block: everything is zero there."""
    import torch

    numpy, item = torch.Tensor.numpy, torch.Tensor.item
    torch.Tensor.numpy = lambda self, **_: np.zeros(tuple(self.shape), np.float32)
    torch.Tensor.item = lambda self: 0.0
    try:
        yield
    finally:
        torch.Tensor.numpy, torch.Tensor.item = numpy, item


def build_trainer(trainer_class: type, work: Path, plans: dict) -> Any:
    """Return a trainer on the pretended device after its on_train_start; it has no data loaders."""
    import torch

    class WithoutData(trainer_class):  # type: ignore[misc, valid-type]
        num_cases = {"labelled": 1, "validation": 1, "unlabelled": 1}
        unlabelled_patches = 1

        def get_dataloaders(self):
            return None, None

        def plot_network_architecture(self):
            pass

        def starts_trained(self):
            return False  # pretended weights cannot be compared

        def build_monitor(self):
            return None

    folder = work / "preprocessed" / workbench.DATASET
    description = json.loads((folder / "dataset.json").read_text())
    plans = copy.deepcopy(plans)
    block = plans["configurations"][workbench.CONFIGURATION]["crln"]
    plans["configurations"][workbench.CONFIGURATION]["crln"] = {**workbench.FULL_METHOD, **block}
    plans["continue_training"] = False
    WithoutData.__name__ = trainer_class.__name__  # names the results folder
    with contextlib.redirect_stdout(io.StringIO()):
        trainer = WithoutData(plans, workbench.CONFIGURATION, "all", description, torch.device("cuda"))
        trainer.on_train_start()
        trainer.on_train_epoch_start()
    if hasattr(trainer, "locks"):
        trainer.locks.close()
    return trainer


def batch_for(trainer: Any, patch: Sequence[int], labelled: int, unlabelled: int) -> dict[str, Any]:
    """Return what the trainer's loader would hand over, on the (fake) CPU."""
    import torch

    scales = trainer._get_deep_supervision_scales() or [[1.0] * len(patch)]
    sizes = [[max(1, round(p * s)) for p, s in zip(patch, scale, strict=True)] for scale in scales]
    target = [torch.zeros((labelled, 1, *size), dtype=torch.int16) for size in sizes]
    batch = {
        "data": torch.randn(labelled, 1, *patch),
        "target": target if trainer.enable_deep_supervision else target[0],
    }
    if not hasattr(trainer, "method"):
        return batch
    return {
        **batch,
        "unlabelled_weak": torch.randn(unlabelled, 1, *patch),
        "unlabelled_strong": torch.randn(unlabelled, 1, *patch),
        "boxes": torch.zeros((unlabelled, *patch), dtype=torch.bool),
        # These stay on the host in truth, and are read there.
        "flips": np.ones((unlabelled, len(patch)), dtype=bool),
        "pasted": np.ones(unlabelled, dtype=bool),
    }
