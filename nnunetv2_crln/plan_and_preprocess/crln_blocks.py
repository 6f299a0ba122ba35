"""Check the entries of plans that are this package's, and preserve them when nnU-Net plans again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import PLANS_BLOCK
from nnunetv2_crln.preprocessed_dataset.own_blocks import OWN_ENTRIES, refuse_misplaced_blocks, short_schedule_of
from nnunetv2_crln.preprocessed_dataset.plans import configurations_of
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.utilities.json_files import read_json, read_users_json, write_json


def own_entries(plans_file: str | Path) -> dict[str, dict]:
    """Return what the user has written for this package into a plans file.

    Args:
        plans_file: Any JSON file.

    Returns:
        For each configuration, those of :data:`OWN_ENTRIES` that it has; empty for files that are no plans.

    Raises:
        UserError: The file is not valid JSON, so that nnU-Net could not read it either, or a block for this package is
            misspelt or misplaced, so that planning would lose it.
    """
    plans = read_users_json(plans_file, "Correct or delete it.")
    if configurations := configurations_of(plans):
        refuse_misplaced_blocks({**plans, "configurations": configurations}, plans_file)
    return {
        name: {key: content[key] for key in OWN_ENTRIES if key in content} for name, content in configurations.items()
    }


@contextmanager
def keep_own_entries(preprocessed_dataset_folder: str | Path) -> Iterator[list[str]]:
    """Restore the user's entries after nnU-Net's planning, which overwrites its own configurations.

    nnU-Net itself keeps configurations that the user added.

    Args:
        preprocessed_dataset_folder: ``nnUNet_preprocessed/DatasetXXX_Name``; it may be missing.

    Yields:
        A list that, after the ``with`` block, names what was restored: ``'"crln" block of 3d_fullres in
        nnUNetPlans.json'``.

    Raises:
        UserError: A block is not valid; this is reported before any long work, not when training starts.
    """
    before = {path: own_entries(path) for path in sorted(Path(preprocessed_dataset_folder).glob("*.json"))}
    for path, entries in before.items():
        for name, content in entries.items():
            check_block(content.get(PLANS_BLOCK, {}), f"{path}, configuration {name}")
            short_schedule_of(content, f"{path}, configuration {name}")
    restored: list[str] = []
    try:
        yield restored
    finally:
        # Restore after an error or an interruption too: nnU-Net may have written its plans by then.
        for path, entries in before.items():
            restored += _restore(path, entries)


def check_block(block: object, where: str) -> CRLNSettings:
    """Read and check a "crln" block.

    Args:
        block: Content of the block.
        where: Place of the block, for the message.

    Returns:
        The settings.

    Raises:
        UserError: The block is not valid; the message names its place.
    """
    try:
        return CRLNSettings.from_plans({PLANS_BLOCK: block})
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _restore(path: Path, entries: dict[str, dict]) -> list[str]:
    if not any(entries.values()) or not path.is_file():
        return []
    plans = read_json(path)
    restored = []
    for name, content in entries.items():
        present = plans["configurations"].get(name)
        for key in [] if present is None else [key for key in content if key not in present]:
            present[key] = content[key]
            restored.append(f'"{key}" block of {name} in {path.name}')
    if restored:
        write_json(plans, path)
    return restored
