"""Keep a copy of plans that nnU-Net's planning replaces by different ones, and say what has changed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nnunetv2_crln.layout import REPLACED_SUFFIX
from nnunetv2_crln.preprocessed_dataset.plans import configurations_of

# A network that was trained under other values does not fit.
DECISIVE = ("patch_size", "spacing", "architecture")


@contextmanager
def keep_replaced_plans(preprocessed_dataset_folder: str | Path) -> Iterator[list[str]]:
    """Copy plans to ``nnUNetPlans.json.replaced`` if the ``with`` block changes what a trained network depends on.

    The unlabelled images count towards spacing and patch size, so that plans which nnU-Net made without them change.

    Args:
        preprocessed_dataset_folder: ``nnUNet_preprocessed/DatasetXXX_Name``; it may be missing.

    Yields:
        A list that, after the ``with`` block, has a warning for each plans file that changed.
    """
    before = {path: path.read_bytes() for path in sorted(Path(preprocessed_dataset_folder).glob("*.json"))}
    warnings: list[str] = []
    try:
        yield warnings
    finally:
        # After an error or an interruption too: nnU-Net may have written its plans by then.
        for path, content in before.items():
            after = _configurations(path.read_bytes() if path.is_file() else b"")
            if changed := list(_changes(_configurations(content), after)):
                copy = _free_name(path)
                copy.write_bytes(content)
                warnings.append(
                    f"planning has changed {path.name}: {'; '.join(changed)}. Networks trained before do not fit these "
                    f"plans (-pretrained_weights, --c). The former plans are kept as {copy.name}. To add unlabelled "
                    "images to plans that should stay, use --unlabelled_only. To go back, rename that file to "
                    f"{path.name}, then run nnUNetv2_preprocess, and this command with --unlabelled_only."
                )


def _configurations(content: bytes) -> dict:
    """Return the configurations of plans; none for other files, and for damaged ones, which others complain about."""
    with suppress(ValueError):
        return configurations_of(json.loads(content))
    return {}


def _changes(before: dict, after: dict) -> Iterator[str]:
    for name in before:
        if name not in after:  # also after a planning that was interrupted while it wrote
            yield f"{name} is gone"
            continue
        for key in DECISIVE:
            old, new = before[name].get(key), after[name].get(key)
            if old != new:
                values = "" if key == "architecture" else f" from {_by(old)} to {_by(new)}"
                yield f"{key} of {name}{values}"


def _by(values: list[float] | None) -> str:
    return "none" if values is None else " × ".join(f"{value:.4g}" for value in values)


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.name}{REPLACED_SUFFIX}{number or ''}") for number in itertools.count())
    return next(name for name in names if not name.exists())
