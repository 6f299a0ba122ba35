"""Hyper-parameters of cooperative rectification learning (CRLN): the optional ``"crln"`` block in nnU-Net's plans."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from nnunetv2_crln.errors import UserError, did_you_mean
from nnunetv2_crln.layout import PLANS_BLOCK

PATCHES_TO_MIX = 2
"""Unlabelled patches that a step has at least unless the settings say otherwise, because CutMix mixes two."""


def _setting(default: Any, allowed: str, **limits: Any) -> Any:
    """Define a field and its range; ``allowed`` describes the range in messages and in the documentation."""
    return dataclasses.field(default=default, metadata={"allowed": allowed, **limits})


def _share(default: float) -> Any:
    return _setting(default, "a number in [0, 1]", low=0.0, high=1.0)


def _weight(default: float) -> Any:
    return _setting(default, "a number >= 0", low=0.0)


def _count(default: int | None, low: int = 1) -> Any:
    return _setting(default, f"an integer >= {low}" + (" or null" if default is None else ""), low=low)


def _choice(default: str | bool, *choices: str | bool) -> Any:
    return _setting(default, "one of " + ", ".join(_in_words(c) for c in choices), choices=choices)


def _in_words(choice: str | bool) -> str:
    """Write a choice as JSON does, except for the quotes."""
    return str(choice).lower() if isinstance(choice, bool) else repr(choice)


def _switch(default: bool) -> Any:
    return _setting(default, "true or false")


@dataclass(frozen=True)
class CRLNSettings:
    """All settings with their defaults. Comments give the paper's value where it differs.

    Raises:
        UserError: A value is out of range, of the wrong type or contradicts another; the message names the key.
    """

    # Parts of the method to use.
    dim: bool = _switch(True)  # prototypes, DIM and rectification; False: mean teacher
    cps: bool = _switch(True)

    # Weights of the loss terms (Eq. 15).
    consistency_weight: float = _weight(1.0)
    pseudo_label_loss: str = _choice("auto", "auto", "nnunet", "cross_entropy")  # paper: cross_entropy
    relationship_map_weight: float = _weight(1.0)
    cps_weight: float = _weight(0.3)  # paper: 1; Pancreas-CT 6/56: 2

    # Pseudo labels (Eq. 1-2) and schedule. Starts and lengths that are null depend on the training: see Phases.
    confidence_threshold: float = _share(0.75)  # published code: 0.97
    class_thresholds: str | bool = _choice(False, "auto", True, False)
    # null: a memory of an epoch, but of 2 % of the training at most, and 0.99 at least
    ema_decay: float | None = _setting(0.99, "a number in [0, 1] or null", low=0.0, high=1.0, nullable=True)
    rectification_start: int | None = _count(None, low=0)  # paper: iteration 800 of 40,000 = 2 %
    unsupervised_start: int | None = _count(None, low=0)  # paper: none (0)
    ramp_up: int | None = _count(None, low=0)  # paper: none (0)
    ignored_voxels: bool = _switch(True)  # with an ignore label: such voxels of labelled cases are unlabelled ones
    unlabelled_batch_size: int | None = _count(None)  # null: as large as the labelled batch
    refresh_every: int | None = _count(None)  # epochs between predictions of the unlabelled cases whole; paper: none
    refresh_max_share: float | None = _setting(0.1, "a number in [0, 1] or null", low=0.0, high=1.0, nullable=True)
    cutmix_alpha: float = _setting(4.0, "a number > 0", low=1e-6)
    cutmix_probability: float = _share(1.0)
    copy_paste_probability: float = _share(0.0)  # paper: none (0)
    histogram_matching: float = _share(0.5)  # paper: none (0)
    strong_flip: bool = _switch(True)
    strong_intensity: str = _choice("nnunet", "wide", "nnunet", "noise", "none")  # paper: noise

    # Prototypes, DIM and rectification (Eq. 3-8).
    num_prototypes: int = _count(16)  # paper: 16 or 4
    aggregation: str = _choice("linear", "linear", "nonlinear")  # published code: nonlinear
    spatial_awareness: bool = _switch(True)
    integration: bool = _switch(True)
    shared_classes: bool = _switch(True)
    detach_features: bool = _switch(True)  # paper: False
    # paper: learned; in its ablation also fixed and concat
    rectification: str = _choice("auto", "auto", "image", "learned", "fixed", "concat", "agreement")
    disagreement_weight: float = _share(0.0)  # with "agreement"; paper: none
    mu_initial: float = _share(0.0)
    mu_learning_rate: float = _weight(0.01)

    # Cooperative Positive Supervision (Eq. 9-14).
    cps_positive: str = _choice("both", "both", "mean", "prototype")
    cps_balance: str = _choice("none", "none", "log_negatives", "gradient")  # paper: none
    prototype_weight: float = _weight(0.6)  # paper: 0.6, 0.9, 0.3 or 0.1
    cps_temperature: float = _setting(0.5, "a number > 0", low=1e-6)
    num_anchors: int = _count(256)
    num_negatives: int = _count(512)
    anchor_uncertainty: float = _share(0.97)
    cps_confidence: float = _share(0.7)
    representation_kernel: int = _setting(1, "1 or 3", choices=(1, 3))  # paper: 3

    # How training runs.
    deploy: str = _choice("teacher", "teacher", "student")
    seed: int | None = _count(None, low=0)  # null: drawn at the start and kept in the checkpoint
    save_every: int = _count(50)
    memory_format: str = _choice("auto", "auto", "contiguous", "channels_last")
    cpu_bfloat16: str | bool = _choice("auto", "auto", True, False)

    # Monitoring; none of it changes the training. 0: off.
    gradient_norm_every: int = _count(50, low=0)  # iterations between looks at the loss terms' gradients
    monitor_every: int = _count(1, low=0)  # epochs between looks at the monitored unlabelled cases
    monitor_cases: int = _count(4)
    overlay_every: int = _count(50, low=0)  # epochs between their pictures
    quality_cases: int = _count(200, low=0)  # unlabelled cases ranked at the end

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))
        linear_only = ("spatial_awareness", "integration", "shared_classes")
        if self.aggregation != "linear" and not all(getattr(self, name) for name in linear_only):
            raise UserError(
                f'"crln" block: {", ".join(linear_only)} can be switched off with "aggregation": "linear" only, '
                f"found {self.aggregation!r}."
            )
        if self.dim and self.relationship_map_weight == 0:
            raise UserError(
                '"crln" block of the plans: relationship_map_weight is 0, expected a number > 0 with "dim": true: the '
                "relationship map learns by this loss alone, and would correct pseudo labels at random. To train "
                'without it, set "dim": false.'
            )
        if self.cps and self.cps_positive == "prototype" and not self.dim:
            raise UserError(
                "\"crln\" block of the plans: cps_positive is 'prototype', expected 'mean' with \"dim\": false, which "
                'leaves out the prototypes. Set "cps_positive": "mean", or "dim": true.'
            )

    @classmethod
    def from_plans(cls, configuration: dict[str, Any], **overrides: Any) -> "CRLNSettings":
        """Read the ``"crln"`` block of one configuration.

        Args:
            configuration: A configuration of the plans with its inheritance resolved; it may lack ``"crln"``.
            **overrides: Values that a trainer variant fixes; they take precedence over the block.

        Returns:
            The settings, with defaults for keys that are in neither.

        Raises:
            UserError: The block is not a dictionary, has an unknown key, or a value out of range.
        """
        block = configuration.get(PLANS_BLOCK, {})
        if not isinstance(block, dict):
            raise UserError(f'"crln" block of the plans: expected a dictionary of settings, found {block!r}.')
        known = [field.name for field in dataclasses.fields(cls)]
        for key in block:
            if key not in known:
                hint = did_you_mean(str(key), known) or f" Known keys: {', '.join(known)}."
                raise UserError(f'"crln" block of the plans: unknown key {key!r}.{hint}')
        return cls(**{**block, **overrides})


def _check(field: dataclasses.Field, value: Any) -> None:
    limits = field.metadata
    if value is None and (field.default is None or limits.get("nullable")):
        return
    expected = type(field.default) if field.default is not None else int
    if "choices" in limits:
        # Types too: 1 is not true, and 1.0 is not 1.
        in_range = any(type(value) is type(choice) and value == choice for choice in limits["choices"])
    else:
        right_type = type(value) is expected or (expected is float and type(value) is int)
        in_range = right_type and (
            math.isfinite(value) and limits.get("low", -math.inf) <= value <= limits.get("high", math.inf)
        )
    if not in_range:
        raise UserError(f'"crln" block of the plans: {field.name} is {value!r}, expected {limits["allowed"]}.')
