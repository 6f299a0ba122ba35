"""Keep a former model of a fold out of the way of the training that replaces it.

nnU-Net leaves the checkpoints of a finished training where they are when a new one begins. If the new one is
interrupted, ``--c`` would load the former model and delete what the new one has saved.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nnunetv2_crln.errors import listing
from nnunetv2_crln.layout import CHECKPOINT_BEST, CHECKPOINT_FINAL, CHECKPOINT_LATEST, FORMER_SUFFIX, VALIDATION_SUMMARY
from nnunetv2_crln.training.checkpoint import previous_file


def set_former_model_aside(fold_folder: str | Path, print_line: Callable[[str], None]) -> None:
    """Rename the checkpoints in the folder of a fold, because a training begins anew.

    Args:
        fold_folder: ``.../fold_X``, locked.
        print_line: Function that prints a line into the training's log.
    """
    folder = Path(fold_folder)
    names = (CHECKPOINT_FINAL, CHECKPOINT_BEST, CHECKPOINT_LATEST, previous_file(CHECKPOINT_LATEST).name)
    present = [name for name in names if (folder / name).is_file()]
    for name in present:
        (folder / name).replace(folder / f"{name}{FORMER_SUFFIX}")
    forget_validation(folder)
    if present:
        print_line(
            f"This training begins anew and replaces a former one. Until it has ended, that one's {listing(present)} "
            f"are kept with {FORMER_SUFFIX} behind their names."
        )


def remove_former_model(fold_folder: str | Path) -> None:
    """Remove what :func:`set_former_model_aside` has kept; the new training has ended."""
    for path in Path(fold_folder).glob(f"checkpoint_*{FORMER_SUFFIX}"):
        path.unlink(missing_ok=True)


def forget_validation(fold_folder: str | Path) -> None:
    """Remove the result of a validation before its predictions are replaced: it tells that they are complete."""
    (Path(fold_folder) / "validation" / VALIDATION_SUMMARY).unlink(missing_ok=True)
