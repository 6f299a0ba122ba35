"""Read plans, check their entries, and find their name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import dataset_number
from nnunetv2_crln.preprocessed_dataset.own_blocks import refuse_misplaced_blocks, short_schedule_of
from nnunetv2_crln.utilities.advice import PREPROCESS, command_line
from nnunetv2_crln.utilities.json_files import read_json, read_users_json

PLANS_KEYS = ("dataset_name", "plans_name", "image_reader_writer", "transpose_forward", "configurations")
CONFIGURATION_KEYS = (
    "data_identifier",
    "preprocessor_name",
    "batch_size",
    "patch_size",
    "spacing",
    "normalization_schemes",
    "use_mask_for_norm",
    *(f"resampling_fn_{what}{ending}" for what in ("data", "seg", "probabilities") for ending in ("", "_kwargs")),
    "batch_dice",
)


def check_plans(plans: object, path: str | Path, configuration: str | None = None) -> None:
    """Check that plans have the entries nnU-Net reads, before it fails with a mere KeyError, and those of this package.

    Args:
        plans: Content of the plans file.
        path: Path of the plans file, for the message.
        configuration: Configuration to check as well; None checks none.

    Raises:
        UserError: An entry is missing, of the wrong type, misspelt or misplaced.
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
    heir, parent = parents[-2:] if len(parents) > 1 else (configuration, "")
    if parent and (parent not in configurations or parent in parents[:-1]):
        fault = "which would inherit from itself" if parent in configurations else "which is not there"
        raise UserError(f"{path}: configuration {heir!r} inherits from {parent!r}, {fault}. {again}")
    missing = [key for key in CONFIGURATION_KEYS if key not in resolved]
    if not {"architecture", "UNet_class_name"} & set(resolved):  # nnU-Net builds the first from the second of old plans
        missing.append("architecture")
    if missing:
        raise UserError(f"{path}: configuration {configuration!r} has no {', '.join(missing)}. {again}")
    size = resolved["patch_size"]
    if not isinstance(size, list) or not all(isinstance(value, int) and value > 0 for value in size):
        raise UserError(f"{path}: patch_size of {configuration!r} is {size!r}; expected integers above 0. {again}")
    batch = resolved["batch_size"]
    if not isinstance(batch, int) or batch < 1:
        raise UserError(f"{path}: batch_size of {configuration!r} is {batch!r}; expected an integer above 0. {again}")
    refuse_misplaced_blocks(plans, path)
    short_schedule_of(resolved, f"{path}, configuration {configuration!r}")


def read_checked_plans(path: str | Path) -> dict:
    """Read plans and check their entries, but not those of the configurations.

    Args:
        path: Path of the plans file.

    Returns:
        Content of the file.

    Raises:
        UserError: The file is damaged, or an entry is missing or of the wrong type.
    """
    plans = read_users_json(path, "Correct the file or make the plans again.")
    check_plans(plans, path)
    return plans


def plans_in(preprocessed_dataset_folder: str | Path) -> Iterator[tuple[Path, dict]]:
    """Read all plans of a dataset and check their entries, but not those of the configurations.

    Args:
        preprocessed_dataset_folder: ``nnUNet_preprocessed/DatasetXXX_Name``; it may be missing.

    Yields:
        Path and content of each plans file; other JSON files are left out.

    Raises:
        UserError: A JSON file is damaged, or plans lack an entry.
    """
    for path in sorted(Path(preprocessed_dataset_folder).glob("*.json")):
        content = read_users_json(path, "Correct or remove the file.")
        if isinstance(content, dict) and {"plans_name", "configurations"} <= set(content):
            check_plans(content, path)
            yield path, content


def configurations_of(plans: object) -> dict[str, dict]:
    """Return the configurations of plans that nobody has checked; none if the content is that of another file."""
    found = plans.get("configurations") if isinstance(plans, dict) else None
    if not isinstance(found, dict):
        return {}
    return {name: entry for name, entry in found.items() if isinstance(entry, dict)}


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


def is_second_stage(plans: dict, configuration: str) -> bool:
    """Tell whether a configuration is the second stage of a cascade, which needs the predictions of the first.

    Args:
        plans: nnU-Net's plans.
        configuration: Name of a configuration in them.

    Returns:
        True if it is one.
    """
    return PlansManager(plans).get_configuration(configuration).previous_stage_name is not None


def one_configuration_per_data(plans_manager: PlansManager, configurations: Iterable[str]) -> dict[str, list[str]]:
    """Select the configurations that need preprocessed data of their own.

    Args:
        plans_manager: nnU-Net's plans.
        configurations: Names of configurations.

    Returns:
        The first configuration for each folder of preprocessed data, with the others that use it.
    """
    by_data: dict[str, list[str]] = {}
    for name in configurations:
        by_data.setdefault(plans_manager.get_configuration(name).data_identifier, []).append(name)
    return {first: others for first, *others in by_data.values()}
