"""Derive plans for CPUs and laptops from nnU-Net's plans: the same preprocessed data, a smaller patch and network."""

from __future__ import annotations

import copy
from math import prod
from pathlib import Path

from nnunetv2_crln.layout import SMALL_PLANS_SUFFIX
from nnunetv2_crln.preprocessed_dataset.plans import configurations_of
from nnunetv2_crln.utilities.json_files import read_json, write_json

TRAINER = "nnUNetTrainer_CRLN_short"
LARGEST_PATCH = {2: 128, 3: 64}
SMALLEST_FEATURE_MAP = 4
FEATURES_DIVISOR = 4
BATCH = 2


def write_small_plans(plans_file: str | Path) -> Path:
    """Write small plans beside nnU-Net's; configurations that the user added to former ones stay, as in nnU-Net's.

    Args:
        plans_file: ``nnUNet_preprocessed/DatasetXXX_Name/nnUNetPlans.json``.

    Returns:
        Path of the new file, ``nnUNetPlans_small.json``.
    """
    plans_file = Path(plans_file)
    plans = read_json(plans_file)
    plans["plans_name"] += SMALL_PLANS_SUFFIX
    # The others inherit, such as the second stage of a cascade, which cannot be trained here.
    small = {
        name: small_configuration(configuration)
        for name, configuration in plans["configurations"].items()
        if "architecture" in configuration
    }
    target = plans_file.with_name(f"{plans['plans_name']}.json")
    former = configurations_of(read_json(target)) if target.is_file() else {}
    added = {name: entry for name, entry in former.items() if name not in plans["configurations"]}
    plans["configurations"] = small | added
    write_json(plans, target)
    return target


def small_plans_are_outdated(plans_file: str | Path) -> bool:
    """Check whether small plans of an earlier run share their preprocessed data with plans of another spacing.

    Args:
        plans_file: ``nnUNet_preprocessed/DatasetXXX_Name/nnUNetPlans.json``.

    Returns:
        True if there are such small plans; plans of that name with data of their own are somebody else's.
    """
    plans_file = Path(plans_file)
    plans = read_json(plans_file)
    small = plans_file.with_name(f"{plans['plans_name']}{SMALL_PLANS_SUFFIX}.json")
    if not small.is_file():
        return False
    of_small, of_plans = (configurations_of(read_json(path)) for path in (small, plans_file))
    pairs = [(of_small[name], of_plans[name]) for name in of_small.keys() & of_plans.keys()]
    return any(
        one.get("data_identifier") == other.get("data_identifier") and one.get("spacing") != other.get("spacing")
        for one, other in pairs
    )


def small_configuration(configuration: dict) -> dict:
    """Reduce patch, batch and network of a configuration; entries that affect preprocessing stay.

    Args:
        configuration: Configuration of nnU-Net's plans.

    Returns:
        A copy with a patch of at most 64 voxels per axis (128 in 2D), as many stages as leave 4 voxels of it, and a
        quarter of the features.
    """
    small = copy.deepcopy(configuration)
    small.pop("next_stage", None)  # the cascade, for which the validation would predict; it has no small plan
    network = small["architecture"]["arch_kwargs"]
    strides = network["strides"]
    limits = [min(size, LARGEST_PATCH[len(strides[0])]) for size in small["patch_size"]]
    stages = max(n for n in range(1, len(strides) + 1) if _fits(limits, strides[:n]))
    total = [prod(stride[axis] for stride in strides[:stages]) for axis in range(len(limits))]
    small["patch_size"] = [limit // stride * stride for limit, stride in zip(limits, total, strict=True)]
    small["batch_size"] = BATCH
    for key, value in network.items():
        if isinstance(value, list) and len(value) in (len(strides), len(strides) - 1):
            network[key] = value[: stages - (len(strides) - len(value))]
    network["n_stages"] = stages
    network["features_per_stage"] = [max(1, features // FEATURES_DIVISOR) for features in network["features_per_stage"]]
    return small


def _fits(patch: list[int], strides: list[list[int]]) -> bool:
    """Check whether the deepest stage of a network keeps enough voxels along the axes that it has pooled."""
    total = [prod(stride[axis] for stride in strides) for axis in range(len(patch))]
    return all(pooled == 1 or size // pooled >= SMALLEST_FEATURE_MAP for size, pooled in zip(patch, total, strict=True))
