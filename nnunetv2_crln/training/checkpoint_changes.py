"""Explain why a checkpoint no longer fits the plans, and describe what changed between two runs."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.layout import CHECKPOINT_STATE, PLANS_BLOCK
from nnunetv2_crln.settings import CRLNSettings

SHAPING = (
    "dim",
    "cps",
    "num_prototypes",
    "aggregation",
    "spatial_awareness",
    "integration",
    "shared_classes",
    "rectification",
    "representation_kernel",
)
"""Settings that decide which parameters the added modules have."""


FORMER_DEFAULTS = {
    "pseudo_label_loss": "cross_entropy",
    "confidence_threshold": 0.95,
    "rectification": "learned",
    "cps_weight": 1.0,
    "histogram_matching": 0.0,
}
"""Values of the versions whose checkpoints do not contain these settings."""


def settings_of_checkpoint(loaded: Mapping, fixed: Mapping[str, Any]) -> CRLNSettings | None:
    """Return the settings that a training had when it wrote a checkpoint.

    Args:
        loaded: Content of the checkpoint.
        fixed: Settings that the trainer fixes.

    Returns:
        The settings; None if they cannot be read, as of a setting that exists no more.
    """
    try:
        values = loaded[CHECKPOINT_STATE].get("settings") or _block_of(loaded["init_args"])
        return CRLNSettings.from_plans({PLANS_BLOCK: {**FORMER_DEFAULTS, **values}}, **fixed)
    except (UserError, KeyError, TypeError, ValueError, AttributeError):
        return None


def named_in_checkpoint(loaded: Mapping) -> Collection[str]:
    """Return the settings that the plans named in the run that wrote a checkpoint.

    Its ``init_args`` hold the plans of the first run alone; checkpoints of older versions say no more.

    Args:
        loaded: Content of the checkpoint.

    Returns:
        Names of settings.
    """
    named = loaded[CHECKPOINT_STATE].get("named_settings")
    return _block_of(loaded["init_args"]) if named is None else named


def with_defaults_of_checkpoint(now: CRLNSettings, before: CRLNSettings, named: Collection[str]) -> CRLNSettings:
    """Keep the values that a training took from the defaults of its version: a new version does not change them.

    Args:
        now: Settings by the present plans and defaults.
        before: Settings of the checkpoint.
        named: Settings that the plans name now, or named when the checkpoint was written.

    Returns:
        The present settings, with the checkpoint's values of all settings that nobody has named.
    """
    return dataclasses.replace(now, **{k: v for k, v in dataclasses.asdict(before).items() if k not in named})


def _block_of(init_args: Mapping) -> dict[str, Any]:
    """Return the "crln" block of the plans that a trainer was built with."""
    configuration = PlansManager(init_args["plans"]).get_configuration(init_args["configuration"])
    return configuration.configuration.get(PLANS_BLOCK, {})


def changed_settings(before: CRLNSettings, now: CRLNSettings) -> dict[str, tuple]:
    """Compare the settings of a checkpoint with those with which its training continues.

    Args:
        before: Settings of the checkpoint.
        now: Settings from now on.

    Returns:
        Old and new value by setting.
    """
    old, new = dataclasses.asdict(before), dataclasses.asdict(now)
    return {key: (old[key], new[key]) for key in new if old[key] != new[key]}


def changed_architecture(init_args: Mapping, now: Mapping) -> dict[str, tuple]:
    """Compare the entries that determine the shape of the network.

    Args:
        init_args: Arguments that the trainer of the checkpoint was built with.
        now: Arguments of the present trainer.

    Returns:
        Old and new value by entry, such as ``architecture.arch_kwargs.n_stages``.
    """
    old, new = _shape_of(init_args), _shape_of(now)
    return {key: (old.get(key), new.get(key)) for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)}


def _shape_of(init_args: Mapping) -> dict[str, Any]:
    try:
        configuration = PlansManager(init_args["plans"]).get_configuration(init_args["configuration"]).configuration
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
    dataset_json = init_args.get("dataset_json") or {}
    content = {"architecture": configuration.get("architecture")}
    content |= {f"{key} (dataset.json)": dataset_json.get(key) for key in ("labels", "channel_names")}
    return dict(_leaves(content, ""))


def _leaves(content: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, content


@contextlib.contextmanager
def explaining_other_shapes(
    where: str, changed: Mapping[str, tuple] | None, architecture: Mapping[str, tuple]
) -> Iterator[None]:
    """Turn torch's list of tensors into the entries of the plans that were changed.

    Args:
        where: File of the checkpoint.
        changed: Result of :func:`changed_settings`; None if the settings cannot be compared.
        architecture: Result of :func:`changed_architecture`.

    Yields:
        Nothing.

    Raises:
        UserError: The state of the checkpoint does not fit.
    """
    try:
        yield
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        changes = describe({**architecture, **{k: v for k, v in (changed or {}).items() if k in SHAPING}})
        unexplained = (
            "The settings of the checkpoint cannot be compared"
            if changed is None
            else "No change of the plans explains it"
        )
        cause = f"Changed since then: {changes}" if changes else f"{unexplained}: {str(error)[:300]}"
        raise UserError(
            f"The network or the modules in {where} have another shape than the plans say now. {cause}. Change it "
            "back, or start anew in an empty fold (remove its checkpoints). In the middle of a training "
            f'{", ".join(SHAPING)} of the "crln" block must stay as they are; all other settings may change.'
        ) from error


def describe(changes: Mapping[str, tuple]) -> str:
    """Return changes as ``key: old → new``."""
    return listing(f"{key}: {old} → {new}" for key, (old, new) in changes.items())
