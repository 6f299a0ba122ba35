"""No training step waits for the device.

Tensors on torch's ``meta`` device have no values, so that every operation that needs one on the host, or whose result's
shape depends on one, raises an error: ``item``, ``tolist``, ``bool``, ``cpu``, ``nonzero``, indexing with a mask. A
whole step on that device therefore reads nothing. On a GPU, torch's own check is asked as well.
"""

import contextlib
from types import SimpleNamespace

import pytest
import torch
import workbench
from torch.utils._python_dispatch import TorchDispatchMode
from workbench_data import nnunet_paths_in, tiny_setting

from nnunetv2_crln.training import variants
from nnunetv2_crln.training.fused_optimiser import _use_fused
from nnunetv2_crln.training.hooks.resuming import Resuming

SETTING = tiny_setting(num_negatives=16)


@pytest.fixture(scope="module", params=[False, True], ids=["all labelled", "ignore label"])
def data(request, tmp_path_factory):
    """Make a preprocessed dataset, with or without an ignore label."""
    work = tmp_path_factory.mktemp("host_sync")
    with nnunet_paths_in(work) as patch:
        patch.setenv("nnUNet_compile", "false")
        if request.param:
            described = workbench.dataset_json

            def with_ignore_label(*arguments):
                json = described(*arguments)
                return {**json, "labels": {**json["labels"], "ignore": SETTING.num_classes}}

            patch.setattr(workbench, "dataset_json", with_ignore_label)
        yield SimpleNamespace(work=work, plans=workbench.write_cases(work, SETTING))


class NoBlockingCopies(TorchDispatchMode):
    """Refuses what ``meta`` allows and a GPU would wait for: a copy from host memory that is not asynchronous."""

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        options = options or {}
        result = function(*arguments, **options)
        if function is torch.ops.aten._to_copy.default:
            self._check(arguments[0], result, options.get("non_blocking", False))
        elif function is torch.ops.aten.copy_.default:
            self._check(arguments[1], arguments[0], arguments[2] if len(arguments) > 2 else False)
        return result

    @staticmethod
    def _check(source, target, non_blocking):
        if source.device.type == "cpu" and target.device.type == "meta" and not non_blocking:
            raise RuntimeError(f"a tensor {tuple(source.shape)} is copied to the device while the host waits")


def as_on_a_gpu(trainer, monkeypatch):
    """Let the trainer run as there, with a scaler and the fused optimiser."""
    autocast = torch.autocast

    def known_to_autocast(device, *arguments, **options):
        return contextlib.nullcontext() if device == "meta" else autocast(device, *arguments, **options)

    monkeypatch.setattr(torch, "autocast", known_to_autocast)
    trainer.grad_scaler = torch.amp.GradScaler("cpu")
    _use_fused(trainer.optimizer, True)
    # The fused kernel has no implementation for meta; what it is given are tensors.
    monkeypatch.setattr(trainer.optimizer, "step", lambda: None)


@pytest.mark.parametrize(
    ("name", "crln"),
    [
        ("nnUNetTrainer_CRLN", {}),
        (
            "nnUNetTrainer_CRLN",
            {
                "pseudo_label_loss": "nnunet",
                "copy_paste_probability": 0.5,
                "rectification": "fixed",
                "detach_features": False,
            },
        ),
        ("nnUNetTrainer_CRLN", {"aggregation": "nonlinear", "rectification": "concat", "representation_kernel": 3}),
        ("nnUNetTrainer_MeanTeacher", {}),
    ],
)
def test_a_step_reads_nothing_from_the_device(data, monkeypatch, name, crln):
    # At the start of a training weights are compared, which tensors without values cannot be.
    monkeypatch.setattr(Resuming, "starts_trained", lambda _: False)
    trainer = workbench.build_trainer(getattr(variants, name), data.work, data.plans, "meta", **crln)
    batch = workbench.draw_batch(trainer)
    as_on_a_gpu(trainer, monkeypatch)
    trainer.train_step(batch)  # constants are made, and copied to the device, once
    with NoBlockingCopies():
        outputs = trainer.train_step(batch)
    assert {value.device.type for value in outputs.values()} == {"meta"}


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x + torch.ones(3).to("meta"),
        lambda x: x[torch.tensor([0, 1]).to(x.device)],
    ],
)
def test_the_check_itself(read):
    with pytest.raises((RuntimeError, NotImplementedError)), NoBlockingCopies():
        read(torch.zeros(3, device="meta"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["nnUNetTrainer_CRLN", "nnUNetTrainer_MeanTeacher"])
def test_cuda_does_not_synchronise_in_a_step(data, name):
    trainer = workbench.build_trainer(getattr(variants, name), data.work, data.plans, "cuda")
    batch = workbench.draw_batch(trainer, pin_memory=True)
    for _ in range(3):  # libraries and buffers are made in the first steps
        trainer.train_step(batch)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            trainer.train_step(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
