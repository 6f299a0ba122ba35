"""Read the result files of a training, without building a network or needing nnU-Net's folders."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.evaluation.summary_file import load_summary
from nnunetv2_crln.layout import (
    CHECKPOINT_BEST,
    CHECKPOINT_FINAL,
    CHECKPOINT_LATEST,
    DOMAIN_FILE,
    EVALUATION_FILE,
    FACTS_FILE,
    GROUP_CURVES_FILE,
    OVERLAY_FOLDER,
    QUALITY_FILE,
    VALIDATION_SUMMARY,
    trainer_and_configuration,
)
from nnunetv2_crln.utilities.checkpoint_files import DamagedError, read_checkpoint

CHECKPOINTS = (CHECKPOINT_FINAL, CHECKPOINT_LATEST, CHECKPOINT_BEST)
OVERLAY_NAME = re.compile(r"epoch_(\d+)_(.+)\.png")


@dataclass(frozen=True)
class Fold:
    """Results of one trained fold; missing ones are None or empty.

    Attributes:
        folder: ``…/fold_X``.
        plans: nnU-Net's plans.
        dataset: Content of dataset.json.
        trainer: Class name of the trainer.
        configuration: Name of the configuration, for example ``3d_fullres``.
        logging: Values per epoch of each key of nnU-Net's logger.
        checkpoint: Name of the checkpoint file with these values.
        debug: Content of nnU-Net's debug.json, all values as text.
        facts: Content of crln_training.json.
        validation: Content of nnU-Net's validation/summary.json.
        evaluations: Results of nnUNetv2_crln_evaluate by path.
        overlays: Pictures by case and epoch.
        quality: Content of pseudo_label_quality.json.
        domain: Content of crln_domain_shift.json.
        group_curves: Content of crln_group_curves.json.
        notes: Errors of files that could not be read, for the reader of the report.
    """

    folder: Path
    plans: dict
    dataset: dict
    trainer: str
    configuration: str
    logging: dict[str, list] = field(default_factory=dict)
    checkpoint: str | None = None
    debug: dict[str, str] = field(default_factory=dict)
    facts: dict | None = None
    validation: dict | None = None
    evaluations: dict[Path, dict] = field(default_factory=dict)
    overlays: dict[str, dict[int, Path]] = field(default_factory=dict)
    quality: dict | None = None
    domain: dict | None = None
    group_curves: dict | None = None
    notes: tuple[str, ...] = ()

    @property
    def plan(self) -> dict:
        """Configuration in the plans, with its inheritance resolved."""
        return _resolve(self.plans.get("configurations", {}), self.configuration)


def read_fold(fold_folder: Path) -> Fold:
    """Read all result files of one fold; a damaged file becomes a note.

    Raises:
        UserError: plans.json or dataset.json cannot be read.
    """
    model_folder = fold_folder.parent
    notes: list[str] = []
    training, checkpoint = _read_training(fold_folder, notes)
    trainer, configuration = trainer_and_configuration(model_folder.name)
    return Fold(
        folder=fold_folder,
        plans=_required_json(model_folder / "plans.json"),
        dataset=_required_json(model_folder / "dataset.json"),
        # The folder may have been renamed, but a fold without a checkpoint has no other source.
        trainer=training.get("trainer_name", trainer),
        configuration=training.get("init_args", {}).get("configuration", configuration),
        logging=training.get("logging", {}),
        checkpoint=checkpoint,
        debug=_optional_json(fold_folder / "debug.json", notes) or {},
        facts=_optional_json(fold_folder / FACTS_FILE, notes),
        validation=_optional_json(fold_folder / "validation" / VALIDATION_SUMMARY, notes),
        evaluations=_read_evaluations(fold_folder, notes),
        overlays=find_overlays(fold_folder / OVERLAY_FOLDER),
        quality=_optional_json(fold_folder / QUALITY_FILE, notes),
        domain=_optional_json(fold_folder / DOMAIN_FILE, notes),
        group_curves=_optional_json(fold_folder / GROUP_CURVES_FILE, notes),
        notes=tuple(notes),
    )


def find_overlays(folder: Path) -> dict[str, dict[int, Path]]:
    """Find the pictures of pseudo labels, by case and epoch, both sorted."""
    found: dict[str, dict[int, Path]] = {}
    for path in sorted(folder.glob("epoch_*.png")) if folder.is_dir() else []:
        if match := OVERLAY_NAME.fullmatch(path.name):
            found.setdefault(match.group(2), {})[int(match.group(1))] = path
    return {case: dict(sorted(epochs.items())) for case, epochs in sorted(found.items())}


def _resolve(configurations: dict, name: str) -> dict:
    own = configurations.get(name, {})
    parent = own.get("inherits_from")
    return {**_resolve(configurations, parent), **own} if parent else own


def _required_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot read {path}: {error}. nnU-Net writes it when a training starts.") from None


def _optional_json(path: Path, notes: list[str]) -> dict | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        notes.append(f"{path.name} cannot be read ({error}).")
        return None
    return content if isinstance(content, dict) else None


def _read_evaluations(fold_folder: Path, notes: list[str]) -> dict[Path, dict]:
    evaluations = {}
    for path in sorted(fold_folder.glob(f"*/{EVALUATION_FILE}")):
        try:
            evaluations[path] = load_summary(path)
        except UserError as error:
            notes.append(str(error))
    return evaluations


def _read_training(fold_folder: Path, notes: list[str]) -> tuple[dict[str, Any], str | None]:
    """Read what the first sound checkpoint tells of its training, but for the weights, and the name of its file."""
    for name in CHECKPOINTS:
        path = fold_folder / name
        if not path.is_file():
            continue
        try:
            checkpoint = read_checkpoint(path, torch.device("cpu"), mmap=True)
            logging = {key: _plain(values) for key, values in checkpoint["logging"].items()}
        except (DamagedError, UserError, KeyError, AttributeError) as error:
            notes.append(f"{name} cannot be read ({error}).")
            continue
        return {**checkpoint, "logging": logging}, name
    return {}, None


def _plain(values: Any) -> Any:
    if isinstance(values, (list, tuple)):
        return [_plain(value) for value in values]
    return values.item() if isinstance(values, np.generic) else values
