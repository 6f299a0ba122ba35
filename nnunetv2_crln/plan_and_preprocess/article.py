"""Describe the paper's protocols as a configuration ``3d_article`` of nnU-Net's plans."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import DATASET_RECORD, NUM_LABELLED, PLANS_BLOCK
from nnunetv2_crln.raw_dataset.cases import find_labelled_cases
from nnunetv2_crln.utilities.json_files import read_json, write_json

if TYPE_CHECKING:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

CONFIGURATION = "3d_article"
PARENT = "3d_fullres"
TRAINER = "nnUNetTrainer_CRLN_article"
STAGES = 5


def _architecture(name: str, norm: str, encoder: list[int], decoder: list[int], dropout: float) -> dict[str, Any]:
    """Return the plans' entry for one of :mod:`nnunetv2_crln.networks`, with the paper's 16 to 256 channels."""
    return {
        "network_class_name": f"nnunetv2_crln.networks.{name}",
        "arch_kwargs": {
            "features_per_stage": [16, 32, 64, 128, 256],
            "n_conv_per_stage": encoder,
            "n_conv_per_stage_decoder": decoder,
            "norm_op": f"torch.nn.modules.{norm}",
            "dropout": dropout,
            "strides": [[1, 1, 1]] + [[2, 2, 2]] * (STAGES - 1),
        },
        "_kw_requires_import": ["norm_op"],
    }


VNET = _architecture("vnet.VNet", "batchnorm.BatchNorm3d", [1, 2, 3, 3, 3], [3, 3, 2, 1], 0.5)
UNET3D = _architecture("unet3d.UNet3D", "instancenorm.InstanceNorm3d", [2] * STAGES, [2] * (STAGES - 1), 0.3)
# Settings of all protocols; docs/settings.md lists the plugin's defaults beside them.
SETTINGS = {
    "detach_features": False,
    "aggregation": "nonlinear",
    "representation_kernel": 3,
    "unsupervised_start": 0,
    "ramp_up": 0,
    "rectification_start": 800,
    "pseudo_label_loss": "cross_entropy",
    "confidence_threshold": 0.97,
    "strong_intensity": "noise",
    "histogram_matching": 0.0,
    "rectification": "learned",
}


@dataclass(frozen=True)
class Protocol:
    """One row of the paper's experiments.

    Attributes:
        dataset: ``left_atrium``, ``pancreas_ct`` or ``brats19``.
        labelled: Number of labelled cases.
        patch: Patch size in voxels, axes ordered as in the image arrays: through-plane first.
        spacing: Spacing of every axis, in mm.
        architecture: Entry ``architecture`` of the plans.
        num_prototypes: Number of prototypes per class, R.
        prototype_weight: Weight xi of the prototypes.
        cps_weight: Weight lambda_cps of Cooperative Positive Supervision.
    """

    dataset: str
    labelled: int
    patch: tuple[int, int, int]
    spacing: float
    architecture: dict[str, Any]
    num_prototypes: int
    prototype_weight: float
    cps_weight: float

    @property
    def settings(self) -> dict[str, Any]:
        """The "crln" block of the plans."""
        return {
            "num_prototypes": self.num_prototypes,
            "prototype_weight": self.prototype_weight,
            "cps_weight": self.cps_weight,
            **SETTINGS,
        }


PROTOCOLS = (
    Protocol("left_atrium", 8, (80, 112, 112), 0.625, VNET, 16, 0.6, 1.0),
    Protocol("left_atrium", 16, (80, 112, 112), 0.625, VNET, 16, 0.9, 1.0),
    Protocol("pancreas_ct", 6, (96, 96, 96), 1.0, VNET, 4, 0.6, 2.0),
    Protocol("pancreas_ct", 12, (96, 96, 96), 1.0, VNET, 16, 0.3, 1.0),
    Protocol("brats19", 25, (96, 96, 96), 1.0, UNET3D, 4, 0.1, 1.0),
    Protocol("brats19", 50, (96, 96, 96), 1.0, UNET3D, 4, 0.1, 1.0),
)
DATASETS = tuple(dict.fromkeys(protocol.dataset for protocol in PROTOCOLS))


def find_protocol(dataset: str, labelled: int) -> Protocol:
    """Find the protocol for a dataset and a number of labelled cases.

    Args:
        dataset: One of :data:`DATASETS`.
        labelled: Number of labelled cases.

    Returns:
        The protocol.

    Raises:
        UserError: The paper has no such experiment.
    """
    of_dataset = {protocol.labelled: protocol for protocol in PROTOCOLS if protocol.dataset == dataset}
    if not of_dataset:
        raise UserError(f"--article {dataset}: the paper has no such dataset. It has: {', '.join(DATASETS)}.")
    if labelled not in of_dataset:
        raise UserError(
            f"--article {dataset} with {labelled} labelled cases: the paper has "
            f"{' and '.join(map(str, of_dataset))}. Convert the dataset with one of them as --num_labelled."
        )
    return of_dataset[labelled]


def count_labelled(raw_dataset_folder: str | Path) -> int:
    """Count the labelled training cases: the number its conversion recorded, or else the cases in imagesTr."""
    raw = Path(raw_dataset_folder)
    noted = read_json(raw / "dataset.json").get(DATASET_RECORD, {}).get(NUM_LABELLED)
    # Labelled validation cases are in imagesTr as well (BraTS 2019), so that counting files is the second choice.
    return noted if isinstance(noted, int) else len(find_labelled_cases(raw))


def protocol_for(raw_dataset_folder: str | Path, dataset: str, labelled: int | None) -> Protocol:
    """Return the requested protocol and check that the dataset fits it.

    Args:
        raw_dataset_folder: ``nnUNet_raw/DatasetXXX_Name``.
        dataset: One of :data:`DATASETS`.
        labelled: Number of labelled cases; None takes the dataset's own.

    Returns:
        The protocol.

    Raises:
        UserError: The paper has no such protocol, or the dataset has a different number of labelled cases.
    """
    present = count_labelled(raw_dataset_folder)
    protocol = find_protocol(dataset, present if labelled is None else labelled)
    if protocol.labelled != present:
        raise UserError(
            f"--num_labelled {protocol.labelled}: {Path(raw_dataset_folder).name} has {present} labelled cases. "
            f"Convert it with --num_labelled {protocol.labelled}, or give --num_labelled {present}."
        )
    return protocol


def article_configuration(protocol: Protocol, plans: PlansManager) -> dict[str, Any]:
    """Build the configuration ``3d_article`` for some plans.

    Args:
        protocol: Row of the paper's experiments.
        plans: Plans that get the configuration.

    Returns:
        Entry of the plans' ``configurations``.

    Raises:
        UserError: The plans have no 3d_fullres to inherit from.
    """
    if PARENT not in plans.available_configurations:
        raise UserError(
            f"{plans.plans_name} of {plans.dataset_name} have no {PARENT}, which {CONFIGURATION} inherits from. "
            "The paper's protocols need three-dimensional images."
        )
    parent = plans.get_configuration(PARENT)
    configuration: dict[str, Any] = {
        "inherits_from": PARENT,
        "patch_size": [protocol.patch[axis] for axis in plans.transpose_forward],
        "batch_size": 2,
        "architecture": protocol.architecture,
        PLANS_BLOCK: protocol.settings,
    }
    if not np.allclose(parent.spacing, protocol.spacing, rtol=0.01):
        # A spacing other than that of 3d_fullres needs its own preprocessed data.
        configuration["spacing"] = [protocol.spacing] * 3
        configuration["data_identifier"] = f"{plans.plans_name}_{CONFIGURATION}"
    return configuration


def write_article_configuration(plans_file: str | Path, protocol: Protocol) -> list[str]:
    """Add ``3d_article`` to a plans file; keep an existing one, which the user may have changed.

    Args:
        plans_file: nnU-Net's plans.
        protocol: Row of the paper's experiments.

    Returns:
        Keys of an existing configuration that differ from the paper, as ``key`` or ``crln.key``.
    """
    # Imported here: the help of the command, which names the protocols, need not wait for nnU-Net.
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans = read_json(plans_file)
    wanted = article_configuration(protocol, PlansManager(str(plans_file)))
    present = plans["configurations"].get(CONFIGURATION)
    if present is None:
        plans["configurations"][CONFIGURATION] = wanted
        write_json(plans, plans_file)
        return []
    return [f"{PLANS_BLOCK}.{key}" for key in _different(present.get(PLANS_BLOCK, {}), wanted[PLANS_BLOCK])] + [
        key for key in _different(present, wanted) if key != PLANS_BLOCK
    ]


def _different(a: dict, b: dict) -> list[str]:
    return sorted(key for key in {*a, *b} if a.get(key) != b.get(key))
