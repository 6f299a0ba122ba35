"""Preserve "crln" blocks across re-planning, validate plans, and describe their memory needs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nnunetv2
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.errors import UserError, did_you_mean
from nnunetv2_crln.layout import PLANS_BLOCK, dataset_number
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.utilities.advice import PREPROCESS, command_line
from nnunetv2_crln.utilities.files import read_json, write_json


def find_nnunet_class(package: str, name: str, flag: str) -> type:
    """Find a class of nnU-Net by name, as its commands do.

    Args:
        package: ``experiment_planning`` or ``preprocessing``.
        name: Name of the class.
        flag: Command line flag with that name, for the message.

    Returns:
        The class.

    Raises:
        UserError: nnU-Net has no such class.
    """
    folder = Path(nnunetv2.__path__[0]) / package
    found = recursive_find_python_class(str(folder), name, current_module=f"nnunetv2.{package}")
    if found is None:
        sources = "\n".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
        meant = did_you_mean(name, re.findall(r"^class (\w+)", sources, re.MULTILINE))
        raise UserError(f"{flag} {name}: nnU-Net has no such class in nnunetv2.{package}. Check the spelling.{meant}")
    return found


PLANS_KEYS = ("dataset_name", "plans_name", "image_reader_writer", "transpose_forward", "configurations")
CONFIGURATION_KEYS = ("data_identifier", "preprocessor_name", "batch_size", "patch_size", "spacing")


def check_plans(plans: object, path: str | Path, configuration: str | None = None) -> None:
    """Check that plans have the entries nnU-Net reads, before it fails with a mere KeyError.

    Args:
        plans: Content of the plans file.
        path: Path of the plans file, for the message.
        configuration: Configuration to check as well; None checks none.

    Raises:
        UserError: An entry is missing or of the wrong type.
    """
    number = dataset_number(Path(path).parent.name)
    command = command_line(PREPROCESS, "-d", number, "-overwrite_plans_name", Path(path).stem, "--no_pp")
    again = f"Make the plans again ({command}), or correct the file."
    if not isinstance(plans, dict):
        raise UserError(f"{path} holds a {type(plans).__name__}; expected nnU-Net's plans, an object. {again}")
    if missing := [key for key in PLANS_KEYS if key not in plans]:
        raise UserError(f"{path} has no {', '.join(missing)}. {again}")
    configurations = plans["configurations"]
    if not isinstance(configurations, dict) or not all(isinstance(entry, dict) for entry in configurations.values()):
        raise UserError(f"{path}: 'configurations' is not an object of objects. {again}")
    if configuration is None:
        return
    if configuration not in configurations:
        raise UserError(f"{path} has no configuration {configuration!r}. It has: {', '.join(configurations)}. {again}")
    resolved: dict = {}
    parents: list[str] = [configuration]
    while parents[-1] in configurations and parents[-1] not in parents[:-1]:
        resolved = {**configurations[parents[-1]], **resolved}
        parents.append(configurations[parents[-1]].get("inherits_from", ""))
    if missing := [key for key in CONFIGURATION_KEYS if key not in resolved]:
        raise UserError(f"{path}: configuration {configuration!r} has no {', '.join(missing)}. {again}")
    size = resolved["patch_size"]
    if not isinstance(size, list) or not all(isinstance(value, int) and value > 0 for value in size):
        raise UserError(f"{path}: patch_size of {configuration!r} is {size!r}; expected integers above 0. {again}")
    batch = resolved["batch_size"]
    if not isinstance(batch, int) or batch < 1:
        raise UserError(f"{path}: batch_size of {configuration!r} is {batch!r}; expected an integer above 0. {again}")


def read_checked_plans(path: str | Path) -> dict:
    """Read plans and check their entries, but not those of the configurations.

    Args:
        path: Path of the plans file.

    Returns:
        Content of the file.

    Raises:
        UserError: The file is damaged, or an entry is missing or of the wrong type.
    """
    try:
        plans = read_json(path)
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}. Correct the file or make the plans again.") from error
    check_plans(plans, path)
    return plans


def plans_identifier(preprocessed_dataset_folder: str | Path, plans: dict) -> str:
    """Return the name under which nnU-Net's commands find plans: that of their file.

    Args:
        preprocessed_dataset_folder: ``nnUNet_preprocessed/DatasetXXX_Name``.
        plans: nnU-Net's plans, as a trainer holds them.

    Returns:
        Name without ``.json``; a file that was copied keeps the former name inside.
    """
    inside = str(plans.get("plans_name", "nnUNetPlans"))
    wanted = {key: value for key, value in plans.items() if key != "continue_training"}
    paths = sorted(Path(preprocessed_dataset_folder).glob("*.json"), key=lambda path: (path.stem != inside, path.stem))
    for path in paths:
        try:
            if read_json(path) == wanted:
                return path.stem
        except (OSError, ValueError):
            continue
    return inside


def planner_default(planner: type, argument: str) -> Any:
    """Return the default of an argument of a planner class.

    Args:
        planner: Planner class of nnU-Net.
        argument: Name of the argument, such as ``plans_name``.

    Returns:
        Its default.
    """
    return inspect.signature(planner).parameters[argument].default


def crln_blocks(plans_file: str | Path) -> dict[str, dict]:
    """Return the "crln" blocks of a plans file by configuration; an empty dictionary for other JSON files.

    Raises:
        UserError: The file is not valid JSON, so that nnU-Net could not read it either.
    """
    try:
        plans = read_json(plans_file)
    except ValueError as error:
        raise UserError(f"{plans_file} is not valid JSON: {error}. Correct or delete it.") from error
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


def describe_configuration(plans_manager: PlansManager, configuration: str, memory_target: float | None) -> str:
    """Describe patch, batch and memory of one configuration.

    The student keeps the activations of labelled and unlabelled patches for the backward pass; plain nnU-Net keeps only
    those of labelled patches. The teacher keeps none. Memory therefore grows with the number of patches per step.

    Args:
        plans_manager: nnU-Net's plans.
        configuration: Name of a configuration in them.
        memory_target: GPU memory that the plans were made for, in GB; None if unknown.

    Returns:
        Text of three lines.
    """
    manager = plans_manager.get_configuration(configuration)
    settings = check_block(manager.configuration.get(PLANS_BLOCK, {}), f"Configuration {configuration}")
    labelled = manager.batch_size
    unlabelled = settings.unlabelled_batch_size or labelled
    made_for = f" (made for {memory_target:g} GB)" if memory_target else ""
    smaller = f"-gpu_memory_target {memory_target / 2:g}" if memory_target else "half the -gpu_memory_target"
    save = [f"plan with {smaller}"]
    if unlabelled > 1:
        save.append(f'set "crln": {{"unlabelled_batch_size": {unlabelled // 2}}} in this configuration of the plans')
    return (
        f"{configuration}: patch {' × '.join(str(size) for size in manager.patch_size)}, "
        f"batch {labelled} labelled + {unlabelled} unlabelled\n"
        f"  GPU memory: about {(labelled + unlabelled) / labelled:.1f} times the activations of plain nnU-Net "
        f"with this plan{made_for}, plus a forward pass of the teacher without gradient.\n"
        f"  If that is too much: {', or '.join(save)}."
    )
