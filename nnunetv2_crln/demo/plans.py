"""Make the demo's plans: nnU-Net's own, with a network and a schedule that a CPU finishes in minutes."""

from pathlib import Path

from nnunetv2_crln.layout import PLANS_BLOCK, SHORT_SCHEDULE
from nnunetv2_crln.utilities.json_files import read_json, write_json

DEMO_PLANS = "nnUNetPlans_demo"

_STAGES = 4
_FEATURES = [8, 16, 32, 64]
_PATCH = [32, 32, 32]
# Three patches for each epoch's Dice; the comparison evaluates the held-out cases as a whole at the end.
_SCHEDULE = {"num_iterations_per_epoch": 50, "num_val_iterations_per_epoch": 2}


def write_demo_plans(preprocessed_dataset_folder: str | Path, seed: int) -> Path:
    """Derive the demo's plans from nnU-Net's.

    Only the network, the patch and the schedule differ, so that the same preprocessed data are used.

    Args:
        preprocessed_dataset_folder: ``nnUNet_preprocessed/DatasetXXX_Name`` with ``nnUNetPlans.json``.
        seed: Seed of weights and batches.

    Returns:
        Path of the new plans, for ``-p nnUNetPlans_demo``.
    """
    folder = Path(preprocessed_dataset_folder)
    plans = read_json(folder / "nnUNetPlans.json")
    full_resolution = plans["configurations"]["3d_fullres"]
    full_resolution["patch_size"] = _PATCH
    full_resolution["batch_size"] = 2
    full_resolution["architecture"]["arch_kwargs"].update(
        n_stages=_STAGES,
        features_per_stage=_FEATURES,
        kernel_sizes=[[3, 3, 3]] * _STAGES,
        strides=[[1, 1, 1]] + [[2, 2, 2]] * (_STAGES - 1),
        n_conv_per_stage=[1] * _STAGES,
        n_conv_per_stage_decoder=[1] * (_STAGES - 1),
    )
    full_resolution[SHORT_SCHEDULE] = {**_SCHEDULE, "seed": seed}
    full_resolution[PLANS_BLOCK] = {**full_resolution.get(PLANS_BLOCK, {}), "seed": seed}
    plans["plans_name"] = DEMO_PLANS
    plans["configurations"] = {"3d_fullres": full_resolution}
    path = folder / f"{DEMO_PLANS}.json"
    write_json(plans, path)
    return path
