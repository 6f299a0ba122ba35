"""Record the facts of a training: crln_training.json."""

from __future__ import annotations

import dataclasses
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from nnunetv2_crln.evaluation.summary_file import save_summary
from nnunetv2_crln.layout import FACTS_FILE
from nnunetv2_crln.settings import CRLNSettings

PACKAGES = ("nnunetv2_crln", "nnunetv2", "torch", "dynamic_network_architectures")


def class_names(dataset_json: dict, num_classes: int) -> list[str]:
    """Return the names of the classes in the order of their values, without the ignore label.

    A region has the value that nnU-Net writes for it (``regions_class_order``).

    Args:
        dataset_json: Content of dataset.json.
        num_classes: Number of classes including background, C.

    Returns:
        One name per class.
    """
    by_value = {value: name for name, value in dataset_json["labels"].items() if isinstance(value, int)}
    if order := dataset_json.get("regions_class_order"):
        regions = [name for name, value in dataset_json["labels"].items() if name != "ignore" and value not in (0, [0])]
        by_value |= dict(zip(order, regions, strict=False))
    return [by_value.get(value, str(value)) for value in range(num_classes)]


def write_facts(output_folder: str | Path, settings: CRLNSettings, device: torch.device, **facts: Any) -> None:
    """Write ``crln_training.json``: facts of a training that nnU-Net's files do not contain.

    Args:
        output_folder: ``.../fold_X``.
        settings: Hyper-parameters.
        device: Device of the training.
        **facts: Further entries: trainer, numbers of cases, patches, epochs and iterations, seed.
    """
    content = {
        "format_version": 1,
        **facts,
        "settings": dataclasses.asdict(settings),
        "device": _device_name(device),
        "versions": {name: _version(name) for name in PACKAGES},
    }
    save_summary(content, Path(output_folder) / FACTS_FILE)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
