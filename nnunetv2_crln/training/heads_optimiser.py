"""Let the optimiser of nnU-Net's trainer train the added modules, too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch


def train_heads_too(optimizer: torch.optim.Optimizer, heads: Iterable[torch.nn.Parameter]) -> None:
    """Add parameters to the last group of an optimiser.

    They get no group of their own: nnU-Net makes the learning rate schedule together with the optimiser, and torch's
    schedules know only the groups of that moment.

    Args:
        optimizer: Optimiser of the network, changed in place.
        heads: Parameters of the added modules; those that it trains already are left out.
    """
    known = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    optimizer.param_groups[-1]["params"].extend(parameter for parameter in heads if parameter not in known)


def with_heads_in_last_group(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Convert the optimiser's state in checkpoints of older versions, which had a group of its own for the heads.

    Args:
        state: State dict of an optimiser.
        optimizer: Optimiser that will load it.

    Returns:
        The state with as many groups as the optimiser has.
    """
    groups = state["param_groups"]
    if len(groups) != len(optimizer.param_groups) + 1:
        return state
    last = {**groups[-2], "params": [*groups[-2]["params"], *groups[-1]["params"]]}
    return {**state, "param_groups": [*groups[:-2], last]}
