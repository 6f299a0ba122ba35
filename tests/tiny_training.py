"""Parts that training tests share: the tiny dataset's numbers, its small network, and nnU-Net's loop by epochs."""

from __future__ import annotations

import json

import numpy as np
import SimpleITK as sitk
import torch
from synthetic import write_image

from nnunetv2_crln.utilities.wrapped_network import unwrap

DATASET = 990
NAME = f"Dataset{DATASET}_Synthetic"
CONFIGURATIONS = ["3d_fullres", "2d"]


def leave_unannotated(raw, label: int = 3) -> None:
    """Give a corner of each labelled case nnU-Net's ignore label."""
    for path in (raw / "labelsTr").iterdir():
        labels = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        labels[:5] = label
        write_image(labels, path)
    dataset_json = json.loads((raw / "dataset.json").read_text(encoding="utf-8"))
    dataset_json["labels"]["ignore"] = label
    (raw / "dataset.json").write_text(json.dumps(dataset_json))


def shrink(configuration: dict, stages: int = 3) -> None:
    """Shrink the network until an iteration takes milliseconds."""
    ndim = len(configuration["patch_size"])
    configuration["patch_size"] = [16] * ndim
    configuration["batch_size"] = 2
    kwargs = configuration["architecture"]["arch_kwargs"]
    kwargs.update(
        n_stages=stages,
        features_per_stage=[4, 8, 12, 16][:stages],
        kernel_sizes=[[3] * ndim] * stages,
        strides=[[1] * ndim] + [[2] * ndim] * (stages - 1),
        n_conv_per_stage=[1] * stages,
        n_conv_per_stage_decoder=[1] * (stages - 1),
    )


def weights(trainer) -> dict[str, torch.Tensor]:
    parts = {
        "student": unwrap(trainer.network),
        "teacher": trainer.method.teacher.module,
        "heads": trainer.method.heads,
        "teacher_heads": trainer.method.teacher_heads.module,
        "rectifier": trainer.method.rectifier,
    }
    return {f"{part}.{key}": value for part, module in parts.items() for key, value in module.state_dict().items()}


def assert_equal_weights(a: dict, b: dict) -> None:
    assert a.keys() == b.keys()
    different = [key for key in a if not torch.equal(a[key], b[key])]
    assert not different, different


def train_epochs(trainer, number: int) -> None:
    """nnU-Net's loop, stopped after some epochs as a killed process would be."""
    trainer.on_train_start()
    for _ in range(number):
        trainer.on_epoch_start()
        trainer.on_train_epoch_start()
        steps = [trainer.train_step(next(trainer.dataloader_train)) for _ in range(trainer.num_iterations_per_epoch)]
        trainer.on_train_epoch_end(steps)
        with torch.no_grad():
            trainer.on_validation_epoch_start()
            trainer.on_validation_epoch_end([trainer.validation_step(next(trainer.dataloader_val))])
        trainer.on_epoch_end()


def assert_trained(trainer) -> None:
    """Every loss is finite. Steps that are not finite are skipped and missing in the means, so they are counted."""
    logged = trainer.logger.get_checkpoint()
    assert np.isfinite(logged["train_losses"]).all()
    assert logged["crln_skipped_steps"] == [0] * len(logged["train_losses"])
