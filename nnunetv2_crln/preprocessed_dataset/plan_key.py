"""Tell under which plans a case was preprocessed."""

from __future__ import annotations

import hashlib
import json

from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

_PLAN_KEYS = (
    "preprocessor_name",
    "spacing",
    "normalization_schemes",
    "use_mask_for_norm",
    "resampling_fn_data",
    "resampling_fn_data_kwargs",
    "resampling_fn_seg",
    "resampling_fn_seg_kwargs",
)
# Normalisations without statistics of the labelled cases: adding a labelled case need not redo all unlabelled ones.
_SELF_CONTAINED_NORMALISATIONS = {
    "ZScoreNormalization",
    "NoNormalization",
    "RescaleTo01Normalization",
    "RGBTo01Normalization",
}


def plan_key(plans_manager: PlansManager, configuration_manager: ConfigurationManager) -> str:
    """Hash the parts of the plans that affect a preprocessed image; patch and batch size do not.

    Args:
        plans_manager: nnU-Net's plans.
        configuration_manager: One of their configurations.

    Returns:
        Hexadecimal digest.
    """
    configuration = configuration_manager.configuration
    relevant = {key: configuration.get(key) for key in _PLAN_KEYS}
    relevant["transpose_forward"] = plans_manager.transpose_forward
    relevant["image_reader_writer"] = plans_manager.plans["image_reader_writer"]
    if not set(configuration_manager.normalization_schemes) <= _SELF_CONTAINED_NORMALISATIONS:
        relevant["intensities"] = plans_manager.foreground_intensity_properties_per_channel
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()[:16]
