"""Give the unlabelled cases what a whole-volume refresh has found: foreground places and removed components."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnunetv2_crln.training.method.known_labels import UNKNOWN
from nnunetv2_crln.training.whole_volume_refresh.schedule import RefreshInForce
from nnunetv2_crln.training.whole_volume_refresh.store import RefreshFindings

REMOVED = 127
"""Value in the mask of an unlabelled case where a component was removed; the largest one of nnU-Net's masks, int8."""


class RefreshedCases:
    """Unlabelled cases for nnU-Net's loader, with foreground places to oversample once a refresh is in force.

    Args:
        cases: Unlabelled cases.
        refresh: Refresh in force at the step of the batch.
    """

    def __init__(self, cases: Any, refresh: RefreshInForce) -> None:
        self.cases, self.refresh = cases, refresh
        self.identifiers, self.source_folder = cases.identifiers, cases.source_folder

    def load_case(self, identifier: str) -> tuple[Any, Any, Any, dict]:
        """Load a case; its mask is :data:`REMOVED` where it was 0 and a component was removed.

        What was found in a scan that was replaced since does not count until the next refresh.
        """
        data, mask, previous, properties = self.cases.load_case(identifier)
        if self.refresh.epoch is None:
            return data, mask, previous, properties
        found = self.refresh.load(identifier)
        if not found.fits(properties):
            found = RefreshFindings()
        if len(found.removed):
            mask = np.array(mask[:])
            places = (0, *found.removed.T)
            mask[places] = np.where(mask[places] == 0, REMOVED, mask[places])
        return data, mask, previous, {**properties, "class_locations": found.places}


def known_background(mask: Tensor) -> dict[str, Tensor]:
    """Extract the background that removed components are known to be.

    Args:
        mask: Mask of each unlabelled patch, (B, 1, *patch).

    Returns:
        ``unlabelled_known``: 0 in removed components and :data:`UNKNOWN` elsewhere, (B, *patch); nothing if no patch
        has any.
    """
    removed = mask[:, 0] == REMOVED
    return {"unlabelled_known": torch.where(removed, 0, UNKNOWN)} if removed.any() else {}
