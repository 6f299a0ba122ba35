"""A preprocessed dataset of random images and nnU-Net trainers on it, for measurements of time and memory.

Nothing is planned or preprocessed: the plan is written as wanted and the cases are saved as nnU-Net's preprocessor
would. Training proper needs real data; what a step costs does not.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

DATASET = "Dataset990_Workbench"
CONFIGURATION = "3d_fullres"
PLANS = "nnUNetPlans"

FULL_METHOD = {
    "seed": 0,
    "rectification_start": 0,
    "unsupervised_start": 0,
    "ramp_up": 0,
    "monitor_every": 0,
    "overlay_every": 0,
    "quality_cases": 0,
    "gradient_norm_every": 0,
}
"""Settings for measuring: the full method from the first step on, and no monitoring."""


@dataclass(frozen=True)
class Setting:
    """A network and its batches.

    Attributes:
        patch_size: Voxels.
        features: Channels of each stage; every stage but the first halves the resolution.
        labelled: Labelled patches in a batch; as many unlabelled ones come with them.
        convolutions: Number of convolutions in each encoder stage.
        decoder_convolutions: Number of convolutions in each decoder stage; None takes that of the encoder.
        norm: Class of torch.nn.
        num_classes: Background included.
        case_size: Voxels of a case; None: a quarter more than the patch.
    """

    patch_size: tuple[int, ...]
    features: tuple[int, ...]
    labelled: int
    convolutions: tuple[int, ...]
    decoder_convolutions: tuple[int, ...] | None = None
    norm: str = "InstanceNorm3d"
    num_classes: int = 3
    case_size: tuple[int, ...] | None = None
    crln: dict[str, Any] = field(default_factory=dict)

    def scaled(self, scale: float) -> Setting:
        """Shrink the patch to a multiple of what the network can halve."""
        unit = 2 ** (len(self.features) - 1)
        return replace(self, patch_size=tuple(max(unit, round(s * scale / unit) * unit) for s in self.patch_size))


SETTINGS = {
    # The plan "narrow" of accuracy/beds.py.
    "hippocampus": Setting((32, 48, 32), (8, 16, 32, 64), 2, (1, 1, 1, 1)),
    # nnU-Net's own plan for that dataset; its batch is the whole of labelled and unlabelled patches here.
    "hippocampus_nnunet": Setting((40, 56, 40), (32, 64, 128, 256), 5, (2, 2, 2, 2)),
    # The paper's protocol for the left atrium, with the stages and widths of V-Net.
    "left_atrium": Setting(
        (112, 112, 80), (16, 32, 64, 128, 256), 2, (1, 2, 3, 3, 3), (3, 3, 2, 1), "BatchNorm3d", num_classes=2
    ),
}


def set_paths(work: str | Path, workers: int = 0) -> None:
    """Point nnU-Net's three folders into ``work``; ``workers`` load data, 0: this process."""
    for name in ("raw", "preprocessed", "results"):
        folder = Path(work) / name
        folder.mkdir(parents=True, exist_ok=True)
        os.environ[f"nnUNet_{name}"] = str(folder)
    os.environ["nnUNet_def_n_proc"] = "1"
    os.environ["nnUNet_n_proc_DA"] = str(workers)


def plans_of(setting: Setting) -> dict:
    """nnU-Net's plans of a setting."""
    stages = len(setting.features)
    resampling = {"order": 3, "order_z": 0, "force_separate_z": None}
    configuration = {
        "data_identifier": f"{PLANS}_{CONFIGURATION}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": setting.labelled,
        "patch_size": list(setting.patch_size),
        "median_image_size_in_voxels": [float(s) for s in setting.patch_size],
        "spacing": [1.0] * 3,
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {"is_seg": False, **resampling},
        "resampling_fn_seg_kwargs": {"is_seg": True, **resampling, "order": 1},
        "resampling_fn_probabilities_kwargs": {"is_seg": False, **resampling, "order": 1},
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": stages,
                "features_per_stage": list(setting.features),
                "conv_op": "torch.nn.modules.conv.Conv3d",
                "kernel_sizes": [[3, 3, 3]] * stages,
                "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
                "n_conv_per_stage": list(setting.convolutions),
                "n_conv_per_stage_decoder": list(setting.decoder_convolutions or setting.convolutions[:-1]),
                "conv_bias": True,
                "norm_op": f"torch.nn.{setting.norm}",
                "norm_op_kwargs": {"eps": 1e-5, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        "batch_dice": False,
        "crln": dict(setting.crln),
    }
    intensities = {"max": 4.0, "mean": 0.0, "median": 0.0, "min": -4.0, "percentile_00_5": -3.0, "percentile_99_5": 3.0}
    return {
        "dataset_name": DATASET,
        "plans_name": PLANS,
        "original_median_spacing_after_transp": [1.0] * 3,
        "original_median_shape_after_transp": list(setting.patch_size),
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {CONFIGURATION: configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": {**intensities, "std": 1.0}},
    }


def write_cases(work: str | Path, setting: Setting, labelled: int = 2, unlabelled: int = 2) -> dict:
    """Write the preprocessed dataset.

    Args:
        work: Folder given to :func:`set_paths`.
        setting: Sizes and classes.
        labelled: Number of labelled cases.
        unlabelled: Number of unlabelled cases.

    Returns:
        The plans.
    """
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from nnunetv2_crln.layout import CASE_RECORD, unlabelled_folder, unlabelled_info_file
    from nnunetv2_crln.preprocessed_dataset.case_files import save_case
    from nnunetv2_crln.preprocessed_dataset.plan_key import plan_key

    folder = Path(work) / "preprocessed" / DATASET
    plans = plans_of(setting)
    manager = PlansManager(copy.deepcopy(plans))
    key = plan_key(manager, manager.get_configuration(CONFIGURATION))
    rng = np.random.default_rng(0)
    folders = {"lab": folder / f"{PLANS}_{CONFIGURATION}", "unl": unlabelled_folder(folder, f"{PLANS}_{CONFIGURATION}")}
    for prefix, count in (("lab", labelled), ("unl", unlabelled)):
        folders[prefix].mkdir(parents=True)
        for index in range(count):
            image, labels = random_case(setting, rng)
            properties: dict[str, Any] = {"class_locations": locations(labels, setting.num_classes)}
            if prefix == "unl":
                labels, properties = np.zeros_like(labels), {CASE_RECORD: {"plan_key": key, "files": {}}}
            name = f"{prefix}_{index:05d}"
            save_case(image, labels, properties, folders[prefix] / name, list(setting.patch_size))
    names = [f"unl_{index:05d}" for index in range(unlabelled)]
    unlabelled_info_file(folders["unl"]).write_text(json.dumps({"plan_key": key, "cases": names}))
    (folder / f"{PLANS}.json").write_text(json.dumps(plans))
    (folder / "dataset_fingerprint.json").write_text("{}")
    (folder / "dataset.json").write_text(json.dumps(dataset_json(setting, labelled)))
    return plans


def multiply_unlabelled(work: str | Path, total: int) -> None:
    """Let the pool have ``total`` cases: links to those that are there."""
    from nnunetv2_crln.layout import unlabelled_folder, unlabelled_info_file
    from nnunetv2_crln.preprocessed_dataset.case_files import SUFFIXES

    folder = unlabelled_folder(Path(work) / "preprocessed" / DATASET, f"{PLANS}_{CONFIGURATION}")
    info = json.loads(unlabelled_info_file(folder).read_text())
    real = list(info["cases"])
    for index in range(len(real), total):
        info["cases"].append(f"unl_{index:05d}")
        for suffix in SUFFIXES:
            os.link(folder / f"{real[index % len(real)]}{suffix}", folder / f"unl_{index:05d}{suffix}")
    unlabelled_info_file(folder).write_text(json.dumps(info))


def resident(key: str, process: int | str = "self") -> int:
    """Resident set of a process now (VmRSS) or at its peak (VmHWM), bytes."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("Memory is read from /proc, which this system does not have.")


def dataset_json(setting: Setting, labelled: int) -> dict:
    return {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, **{f"class_{c}": c for c in range(1, setting.num_classes)}},
        "numTraining": labelled,
        "file_ending": ".nii.gz",
    }


def random_case(setting: Setting, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Noise, brighter in one box for each class: image (1, *size), labels (1, *size)."""
    size = setting.case_size or tuple(math.ceil(1.25 * s) for s in setting.patch_size)
    labels = np.zeros((1, *size), np.int16)
    for label in range(1, setting.num_classes):
        box = []
        for extent in size:
            side = max(2, extent // 3)
            start = int(rng.integers(0, extent - side + 1))
            box.append(slice(start, start + side))
        labels[(0, *box)] = label
    image = rng.standard_normal((1, *size), np.float32) + labels
    return image.astype(np.float32), labels


def locations(labels: np.ndarray, num_classes: int) -> dict:
    """Voxels of each foreground class and of all annotated ones, as nnU-Net's preprocessor notes them."""
    annotated = {(-1, *range(num_classes)): np.argwhere(labels >= 0)[::97]}
    return {**{label: np.argwhere(labels == label) for label in range(1, num_classes)}, **annotated}


def build_trainer(trainer_class: type, work: str | Path, plans: dict, device: str, labelled_factor: int = 1, **crln):
    """Build a trainer that is ready for its first step.

    Args:
        trainer_class: nnU-Net's or one of this package.
        work: Folder of :func:`write_cases`.
        plans: As returned there; left unchanged.
        device: ``"cpu"`` or ``"cuda"``.
        labelled_factor: Multiplies the labelled batch; 2 gives plain nnU-Net as many patches as CRLN has.
        **crln: Settings of CRLN.
    """
    import torch

    plans = copy.deepcopy(plans)
    configuration = plans["configurations"][CONFIGURATION]
    configuration["batch_size"] *= labelled_factor
    configuration["crln"] = {**FULL_METHOD, **configuration["crln"], **crln}
    plans["continue_training"] = False
    folder = Path(work) / "preprocessed" / DATASET
    with contextlib.redirect_stdout(io.StringIO()):
        trainer = trainer_class(
            plans, CONFIGURATION, "all", json.loads((folder / "dataset.json").read_text()), torch.device(device)
        )
        trainer.on_train_start()
        trainer.on_train_epoch_start()
    if hasattr(trainer, "locks"):  # several trainers may share this folder, none of them writes into it
        trainer.locks.close()
    return trainer


def draw_batch(trainer, pin_memory: bool = False) -> dict:
    """One batch of the trainer's own loader."""
    import torch

    batch = next(trainer.dataloader_train)

    def pinned(value):
        if isinstance(value, list):
            return [pinned(v) for v in value]
        return value.pin_memory() if pin_memory and isinstance(value, torch.Tensor) else value

    return {key: pinned(value) for key, value in batch.items()}


def device_name(device: str) -> str:
    """Return the name of the hardware, for a result file."""
    import torch

    if device == "cuda":
        return torch.cuda.get_device_name()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return "CPU"


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Median with the spread around it."""
    low, first, middle, third, high = np.quantile(values, [0.1, 0.25, 0.5, 0.75, 0.9]).tolist()
    return {"median": middle, "q25": first, "q75": third, "q10": low, "q90": high}
