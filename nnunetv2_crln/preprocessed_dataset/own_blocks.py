"""Check the entries of plans that are this package's: nnU-Net ignores them, and so nobody would miss a misspelt one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nnunetv2_crln.errors import UserError, closest, did_you_mean
from nnunetv2_crln.layout import PLANS_BLOCK, SHORT_SCHEDULE

OWN_ENTRIES = (PLANS_BLOCK, SHORT_SCHEDULE)
"""Keys in the configurations of plans that nnU-Net does not know."""

_SIMILARITY = 0.75  # "clrn" and "crln"; less would take keys of others for a misspelt one

_SMALLEST = {"num_epochs": 1, "num_iterations_per_epoch": 1, "num_val_iterations_per_epoch": 1, "seed": 0}
_LEARNING_RATE = "initial_lr"


def short_schedule_of(configuration: dict[str, Any], where: str = "the plans") -> dict[str, Any]:
    """Read the "short_schedule" block of a configuration and check its entries.

    Args:
        configuration: A configuration of the plans with its inheritance resolved; it may lack the block.
        where: Place of the configuration, for the message.

    Returns:
        The block; empty if there is none.

    Raises:
        UserError: The block is not a dictionary, has an unknown key, or a value of the wrong type or out of range.
    """
    where = f'"{SHORT_SCHEDULE}" block of {where}'
    block = configuration.get(SHORT_SCHEDULE, {})
    if not isinstance(block, dict):
        raise UserError(f'{where}: expected a dictionary such as {{"num_epochs": 60}}, found {block!r}.')
    known = [*_SMALLEST, _LEARNING_RATE]
    for key, value in block.items():
        if key not in known:
            hint = did_you_mean(key, known) or f" Known keys: {', '.join(known)}."
            raise UserError(f"{where}: unknown key {key!r}.{hint}")
        if key == _LEARNING_RATE:
            valid, expected = type(value) in (int, float) and 0 < value < math.inf, "a number > 0"
        else:
            valid, expected = type(value) is int and value >= _SMALLEST[key], f"an integer >= {_SMALLEST[key]}"
        if not valid:
            raise UserError(f"{where}: {key} is {value!r}, expected {expected}.")
    return block


def refuse_misplaced_blocks(plans: dict[str, Any], path: str | Path) -> None:
    """Refuse blocks of this package that are misspelt or in another place than a configuration.

    Args:
        plans: Content of the plans file; all its configurations are checked.
        path: Path of the plans file, for the message.

    Raises:
        UserError: There is one; the message names it and its place.
    """
    for place, keys in _places(plans):
        for key in keys:
            meant = _meant(key)
            if meant and not (meant == key and place.startswith("configuration ")):
                raise UserError(
                    f"{path}: {place} has the entry {key!r}, which nothing reads. Expected {meant!r} in a "
                    f'configuration, as in {{"configurations": {{"3d_fullres": {{"{meant}": {{…}}}}}}}}. Rename or '
                    "move it."
                )


def _places(plans: dict[str, Any]) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield each place where a block may have got to, with the keys there."""
    yield "the top level", plans
    configurations = plans["configurations"]
    # A configuration may have any name, but says what it is made of.
    incomplete = [name for name, e in configurations.items() if not {"inherits_from", "data_identifier"} & set(e)]
    yield "'configurations'", incomplete
    for name, entry in configurations.items():
        if name not in incomplete or not _meant(name):
            yield f"configuration {name!r}", entry
        architecture = entry.get("architecture")
        if isinstance(architecture, dict):
            yield f"the architecture of {name!r}", architecture
            if isinstance(kwargs := architecture.get("arch_kwargs"), dict):
                yield f"arch_kwargs of {name!r}", kwargs


def _meant(key: str) -> str | None:
    """Return the block that a key is or probably should be; None for keys of others."""
    if key in OWN_ENTRIES:
        return key
    if key.lower().startswith(PLANS_BLOCK):
        return PLANS_BLOCK
    return closest(key, OWN_ENTRIES, _SIMILARITY)
