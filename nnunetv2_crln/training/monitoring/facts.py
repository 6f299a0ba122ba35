"""Record the facts of a training: crln_training.json."""

from __future__ import annotations

import contextlib
import dataclasses
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import FACTS_FILE
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.utilities.json_files import read_json, write_json_with_nulls

PACKAGES = ("nnunetv2_crln", "nnunetv2", "torch", "dynamic_network_architectures")


def write_facts(output_folder: str | Path, settings: CRLNSettings, device: torch.device, **facts: Any) -> None:
    """Write ``crln_training.json``: facts of a training that nnU-Net's files do not contain.

    Args:
        output_folder: ``.../fold_X``.
        settings: Hyper-parameters.
        device: Device of the training.
        **facts: Further entries: trainer, numbers of cases, epochs and iterations, labelled and unlabelled patches in
            the batch of all processes together, seed, and whether it began with trained weights.
    """
    content = {
        "format_version": 1,
        **facts,
        "settings": dataclasses.asdict(settings),
        "device": _device_name(device),
        "versions": {name: _version(name) for name in PACKAGES},
    }
    write_json_with_nulls(content, Path(output_folder) / FACTS_FILE)


def began_with_trained_weights(fold_folder: str | Path) -> bool:
    """Check whether the last training in a fold began with ``-pretrained_weights``.

    Args:
        fold_folder: ``.../fold_X``.

    Returns:
        True if its facts say so; nnU-Net's own trainers record none.
    """
    return bool(read_facts(fold_folder).get("pretrained"))


def read_facts(fold_folder: str | Path) -> dict[str, Any]:
    """Read what :func:`write_facts` has written.

    Args:
        fold_folder: ``.../fold_X``.

    Returns:
        Content of the file; empty without one, or if it is damaged.
    """
    with contextlib.suppress(OSError, ValueError):
        facts = read_json(Path(fold_folder) / FACTS_FILE)
        return facts if isinstance(facts, dict) else {}
    return {}


def refuse_lost_start(fold_folder: str | Path) -> None:
    """Refuse to continue without a checkpoint what began with ``-pretrained_weights``: it would start at random.

    Args:
        fold_folder: ``.../fold_X`` without a checkpoint.

    Raises:
        UserError: The interrupted training began so.
    """
    if began_with_trained_weights(fold_folder):
        raise UserError(
            f"{fold_folder} has no checkpoint to continue from, and the interrupted training began with "
            "-pretrained_weights: with --c it would start from random weights. Run its first command again, with "
            f"-pretrained_weights and without --c. Or delete {FACTS_FILE} there to start from random weights."
        )


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
