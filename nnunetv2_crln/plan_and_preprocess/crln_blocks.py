"""Check the "crln" blocks of plans, and preserve them when nnU-Net plans again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import PLANS_BLOCK
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.utilities.files import read_json, read_users_json, write_json


def crln_blocks(plans_file: str | Path) -> dict[str, dict]:
    """Return the "crln" blocks of a plans file by configuration; an empty dictionary for other JSON files.

    Raises:
        UserError: The file is not valid JSON, so that nnU-Net could not read it either.
    """
    plans = read_users_json(plans_file, "Correct or delete it.")
    configurations = plans.get("configurations", {}) if isinstance(plans, dict) else {}
    return {name: content[PLANS_BLOCK] for name, content in configurations.items() if PLANS_BLOCK in content}


@contextmanager
def keep_crln_blocks(preprocessed_dataset_folder: str | Path) -> Iterator[list[str]]:
    """Restore the user's "crln" blocks after nnU-Net's planning, which overwrites its own configurations.

    nnU-Net itself keeps configurations that the user added.

    Args:
        preprocessed_dataset_folder: ``nnUNet_preprocessed/DatasetXXX_Name``; it may be missing.

    Yields:
        A list that, after the ``with`` block, names what was restored: ``"3d_fullres in nnUNetPlans.json"``.

    Raises:
        UserError: A block is not valid; this is reported before any long work, not when training starts.
    """
    before = {path: crln_blocks(path) for path in sorted(Path(preprocessed_dataset_folder).glob("*.json"))}
    for path, blocks in before.items():
        for name, block in blocks.items():
            check_block(block, f"{path}, configuration {name}")
    restored: list[str] = []
    try:
        yield restored
    finally:
        # Restore after an error or an interruption too: nnU-Net may have written its plans by then.
        for path, blocks in before.items():
            restored += _restore(path, blocks)


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


def _restore(path: Path, blocks: dict[str, dict]) -> list[str]:
    if not blocks or not path.is_file():
        return []
    plans = read_json(path)
    lost = [
        name for name in blocks if name in plans["configurations"] and PLANS_BLOCK not in plans["configurations"][name]
    ]
    for name in lost:
        plans["configurations"][name][PLANS_BLOCK] = blocks[name]
    if lost:
        write_json(plans, path)
    return [f"{name} in {path.name}" for name in lost]
