"""Build the report's sections on the training: data and settings, curves, pseudo labels over time."""

import dataclasses
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

from nnunetv2_crln.layout import CURVE_PREFIX, PLANS_BLOCK
from nnunetv2_crln.raw_dataset.classes import class_values
from nnunetv2_crln.reporting.blocks import Block, Facts, Folded, Heading, Paragraph, Picture, Remarks
from nnunetv2_crln.reporting.figures import file_uri, png_uri
from nnunetv2_crln.reporting.fold import Fold
from nnunetv2_crln.reporting.progress_png import draw_progress
from nnunetv2_crln.reporting.remarks import FEWEST_EPOCHS, remarks
from nnunetv2_crln.settings import CRLNSettings

OVERLAYS_PER_CASE = 6


def facts_section(fold: Fold) -> list[Block]:
    """List data, network, settings and progress of the training."""
    return [Heading(2, "What was trained on what"), Facts(list(_facts(fold)))]


def _facts(fold: Fold) -> list[tuple[str, object]]:
    plan, recorded, dataset = fold.plan, fold.facts or {}, fold.dataset
    counts = recorded.get("num_cases", {"labelled (dataset.json)": dataset.get("numTraining", "unknown")})
    channels = dataset.get("channel_names", dataset.get("modality", {}))
    rows: list[tuple[str, object]] = [
        ("Fold", fold.folder.name),
        ("Cases", ", ".join(f"{count} {kind}" for kind, count in counts.items())),
        ("Channels", ", ".join(map(str, channels.values()))),
        ("Classes", ", ".join(class_values(dataset))),
        ("Configuration", f"{fold.configuration} of {fold.plans.get('plans_name', 'unknown plans')}"),
        ("Patch", f"{_times(plan.get('patch_size', []))} voxels"),
        ("Spacing", f"{_times(plan.get('spacing', []))} mm"),
        ("Batch", _batch(fold)),
        ("Network", _network(plan)),
        ("Progress", _progress(fold)),
    ]
    rows += [("crln block of the plans", _settings_text(plan.get(PLANS_BLOCK, {})) or "none: all defaults")]
    if recorded:
        rows += [("Settings that differ from the defaults", _settings_text(_changed(recorded["settings"])) or "none")]
        rows += [("Seed", recorded["seed"]), ("Device", recorded["device"])]
        rows += [("Versions", ", ".join(f"{name} {number}" for name, number in recorded["versions"].items()))]
    else:
        rows += [("Device", fold.debug.get("gpu_name", fold.debug.get("device", "unknown")))]
        rows += [("Versions", f"torch {fold.debug.get('torch_version', 'unknown')}")]
    return rows


def _times(numbers: Sequence[float]) -> str:
    return " × ".join(f"{number:g}" for number in numbers)


def _batch(fold: Fold) -> str:
    if fold.facts:
        return f"{fold.facts['labelled_patches']} labelled + {fold.facts['unlabelled_patches']} unlabelled patches"
    return f"{fold.plan.get('batch_size', 'unknown')} patches"


def _network(plan: Mapping) -> str:
    architecture = plan.get("architecture", {})
    features = architecture.get("arch_kwargs", {}).get("features_per_stage", [])
    name = str(architecture.get("network_class_name", "unknown")).rsplit(".", 1)[-1]
    return f"{name}, features {', '.join(map(str, features))}" if features else name


def _progress(fold: Fold) -> str:
    starts, ends = (fold.logging.get(f"epoch_{which}_timestamps", []) for which in ("start", "end"))
    if not ends:
        return "no epoch finished"
    planned = (fold.facts or {}).get("epochs") or fold.debug.get("num_epochs", "?")
    # A started epoch has no end yet.
    seconds = median(end - start for start, end in zip(starts, ends, strict=False))
    return f"{len(ends)} of {planned} epochs ({fold.checkpoint}), median {seconds:.1f} s an epoch"


def _changed(settings: Mapping[str, Any]) -> dict[str, Any]:
    defaults = {field.name: field.default for field in dataclasses.fields(CRLNSettings)}
    return {key: value for key, value in settings.items() if defaults.get(key) != value}


def _settings_text(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {value}" for key, value in settings.items())


def curves_section(fold: Fold) -> list[Block]:
    """Draw the curves, with remarks on what stands out."""
    parts: list[Block] = [Heading(2, "Curves")]
    if not fold.logging:
        return [*parts, Paragraph("No checkpoint with a log was found.", "note")]
    found = remarks(fold.logging)
    if found:
        parts.append(Remarks(found))
    elif len(fold.logging.get(f"{CURVE_PREFIX}supervised", [])) >= FEWEST_EPOCHS:
        parts.append(Paragraph("Nothing in the curves stands out.", "fine"))
    caption = "What each curve should look like: docs/monitoring.md in the repository of nnunetv2_crln."
    return [*parts, Picture(png_uri(draw_progress(fold.logging)), "Curves of the training", caption)]


def overlay_section(fold: Fold) -> list[Block]:
    """Show the pictures of the monitored cases, the latest of each and the earlier ones folded."""
    if not fold.overlays:
        return []
    parts: list[Block] = [
        Heading(2, "Pseudo labels of the monitored cases"),
        Paragraph(
            "One patch of each case. Raw: the teacher's prediction; rectified: after correction with the relationship "
            "map M (orange supports a class, purple contradicts it); change: what the correction added or removed.",
            "note",
        ),
    ]
    for case, by_epoch in fold.overlays.items():
        epochs = chosen_epochs(list(by_epoch))
        pictures = [Picture(file_uri(by_epoch[epoch]), f"{case}, epoch {epoch}", style="wide") for epoch in epochs]
        parts.append(pictures[-1])
        if len(pictures) > 1:
            title = f"{case} over time: epochs {', '.join(map(str, epochs[:-1]))}"
            parts.append(Folded(title, pictures[:-1]))
    return parts


def chosen_epochs(epochs: Sequence[int], limit: int = OVERLAYS_PER_CASE) -> list[int]:
    """Choose evenly spread epochs that include the first and the last.

    Args:
        epochs: Epochs to choose from.
        limit: Largest number of chosen epochs.

    Returns:
        Chosen epochs.

    Example:
        >>> chosen_epochs([0, 10, 20, 30, 40], 3)
        [0, 20, 40]
    """
    positions = np.linspace(0, len(epochs) - 1, min(limit, len(epochs))).round().astype(int)
    return [epochs[i] for i in positions]
