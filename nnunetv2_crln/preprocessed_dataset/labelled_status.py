"""Check that labelled cases are preprocessed, and with the present plans: nnU-Net itself does not look."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.preprocessed_dataset.commands import labelled_command, labelled_folder, unlabelled_command
from nnunetv2_crln.preprocessed_dataset.formats import BESIDE_CASES, FORMATS, dataset_in, ending
from nnunetv2_crln.preprocessed_dataset.labelled_record import recorded_plan_key
from nnunetv2_crln.preprocessed_dataset.outdated import is_outdated
from nnunetv2_crln.preprocessed_dataset.plan_key import plan_key
from nnunetv2_crln.preprocessed_dataset.plans import one_configuration_per_data, plans_identifier
from nnunetv2_crln.raw_dataset.cases import find_labelled_cases
from nnunetv2_crln.raw_dataset.folders import DatasetFolders

_TO_THE_SPACING = ("resample_data_or_seg_to_shape", "resample_torch_fornnunet")
"""nnU-Net's functions that give a case the spacing of the plans; its planner without resampling has another one."""
_LOOKS = 5  # the archives of older versions are unpacked for a look


def require_labelled_data(data_folder: str | Path, plans_manager: PlansManager, configuration: str) -> None:
    """Check that the labelled cases are preprocessed for these plans.

    Args:
        data_folder: ``nnUNet_preprocessed/DatasetXXX_Name/<data_identifier>``.
        plans_manager: nnU-Net's plans.
        configuration: Name of a configuration in them.

    Raises:
        UserError: They are not, or other files lie among them; the message names the commands.
    """
    folder = Path(data_folder)
    names = [path.name for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    formats = {ending(name) for name in names} - BESIDE_CASES
    remedy = ""
    if not formats & FORMATS:
        fault = f"{folder} has no preprocessed labelled cases."
    elif len(formats) > 1:
        known = FORMATS | BESIDE_CASES
        strangers = [name for name in names if ending(name) not in known]
        fault = f"{folder} holds files of several kinds ({listing(sorted(formats))}), and nnU-Net expects one."
        remedy = f"Remove {listing(strangers)}." if strangers else ""
    elif difference := preprocessed_otherwise(folder, plans_manager, configuration):
        plans = plans_identifier(folder.parent, plans_manager.plans)
        fault = (
            f"{folder} was not preprocessed with the present {plans}.json: {difference}. The plans were made again "
            "since then, or others that share the folder have replaced its cases."
        )
    else:
        return
    if not remedy:
        arguments = (folder.parent, plans_manager, configuration)
        remedy = f"Run: {labelled_command(*arguments)} and then: {unlabelled_command(*arguments)}"
    raise UserError(f"{fault} {remedy}")


def preprocessed_otherwise(data_folder: str | Path, plans_manager: PlansManager, configuration: str) -> str:
    """Look for a sign that labelled cases were preprocessed with other plans, images or labels than the present ones.

    The record of this plugin's preprocessing shows it for all that the plans say of a case. Without one, as after
    nnU-Net's own command, the size of some cases still shows whether they have the spacing of the plans.

    Args:
        data_folder: ``nnUNet_preprocessed/DatasetXXX_Name/<data_identifier>``.
        plans_manager: nnU-Net's plans.
        configuration: Name of a configuration in them.

    Returns:
        What was found, such as a case of another size than these plans give it; empty if nothing was. Sizes are not
        compared if the plans have another preprocessor or resampling than nnU-Net's usual ones.
    """
    if is_outdated(data_folder):
        return "a command that was to replace its cases was interrupted"
    manager = plans_manager.get_configuration(configuration)
    if recorded := recorded_plan_key(data_folder):
        same = recorded == plan_key(plans_manager, manager)
        return "" if same else "its spacing, normalisation or resampling was another when its cases were preprocessed"
    usual = manager.preprocessor_class is DefaultPreprocessor
    if not usual or manager.configuration.get("resampling_fn_data") not in _TO_THE_SPACING:
        return ""
    if (dataset := dataset_in(data_folder)) is None:
        return ""
    cases = sorted(dataset.identifiers)
    for case in cases[:: max(1, math.ceil(len(cases) / _LOOKS))]:
        try:
            image, _, _, properties = dataset.load_case(case)
            size = properties["shape_after_cropping_and_before_resampling"]
            spacing = [properties["spacing"][axis] for axis in plans_manager.transpose_forward]
        except Exception:  # damaged files are named when the loaders open them
            continue
        target = [*spacing[: len(spacing) - len(manager.spacing)], *manager.spacing]
        expected = tuple(int(length) for length in compute_new_shape(size, spacing, target))
        if tuple(image.shape[1:]) != expected:
            shapes = " instead of ".join(" × ".join(map(str, shape)) for shape in (image.shape[1:], expected))
            return f"{case} has {shapes} voxels"
    return ""


def unprocessed_labelled(
    folders: DatasetFolders, plans_manager: PlansManager, configurations: Iterable[str]
) -> list[str]:
    """Describe the labelled cases that are not preprocessed although others are: trainings leave them out.

    Args:
        folders: Folders of the dataset.
        plans_manager: nnU-Net's plans.
        configurations: Names of configurations; those without any preprocessed case do not count.

    Returns:
        A text with the way out for each configuration that lacks cases.
    """
    labelled = set(find_labelled_cases(folders.raw))
    texts = []
    for name, data in _data_that_is_there(folders, plans_manager, configurations):
        dataset = dataset_in(data)
        if dataset is not None and (absent := sorted(labelled - set(dataset.identifiers))):
            texts.append(
                f"{len(absent)} labelled case(s) are not preprocessed for {name}, and trainings leave them out: "
                f"{listing(absent)}. Run: {labelled_command(folders.preprocessed, plans_manager, name)}"
            )
    return texts


def labelled_of_other_plans(
    folders: DatasetFolders, plans_manager: PlansManager, configurations: Iterable[str]
) -> list[str]:
    """Describe the labelled data that trainings with these plans will refuse.

    Args:
        folders: Folders of the dataset.
        plans_manager: nnU-Net's plans.
        configurations: Names of configurations; those without any preprocessed case do not count.

    Returns:
        A text with the way out for each configuration with such data.
    """
    texts = []
    for name, data in _data_that_is_there(folders, plans_manager, configurations):
        try:
            require_labelled_data(data, plans_manager, name)
        except UserError as error:
            texts.append(str(error))
    return texts


def _data_that_is_there(
    folders: DatasetFolders, plans_manager: PlansManager, configurations: Iterable[str]
) -> Iterator[tuple[str, Path]]:
    """Yield the folders of preprocessed labelled cases that hold something, each with a configuration that uses it."""
    for name in one_configuration_per_data(plans_manager, configurations):
        data = labelled_folder(folders.preprocessed, plans_manager, name)
        if data.is_dir() and any(data.iterdir()):
            yield name, data
