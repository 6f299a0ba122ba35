"""Predict unlabelled cases with the teacher between epochs, without any effect on the training."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nnunetv2_crln.training.method import CRLN
from nnunetv2_crln.training.monitoring.patches import Patch
from nnunetv2_crln.training.objective import relationship_map


@dataclass(frozen=True)
class TeacherPrediction:
    """Output of the teacher for one patch.

    Attributes:
        raw: Probabilities before rectification, (C, *patch).
        rectified: Probabilities after rectification, (C, *patch); equal to ``raw`` before rectification starts.
        relationship_map: Relationship map M, (C, *patch); None without a dynamic interaction module.
    """

    raw: np.ndarray
    rectified: np.ndarray
    relationship_map: np.ndarray | None


class TeacherView:
    """Predict patches with the teacher, its dynamic interaction module and its rectification.

    Args:
        method: Method in training. Its teacher is used uncompiled, because another batch size would compile it anew.
        device: Device of the teacher.
        autocast: Function that returns the autocast context of the training.
        label_manager: nnU-Net's; tells regions from classes.
    """

    def __init__(
        self,
        method: CRLN,
        device: torch.device,
        autocast: Callable[[], contextlib.AbstractContextManager],
        label_manager: Any,
    ) -> None:
        # Value that nnU-Net writes for each region, a later one over an earlier one.
        self._order: Sequence[int] | None = label_manager.regions_class_order if label_manager.has_regions else None
        self.num_classes = method.num_classes if self._order is None else max(self._order) + 1
        self._network, self._taps = method.teacher.module, method.teacher_taps
        self._heads, self._rectifier = method.teacher_heads.module, method.rectifier
        self._device, self._autocast = device, autocast

    @torch.no_grad()
    def __call__(self, patch: Patch, rectifying: bool) -> TeacherPrediction:
        """Predict one patch without drawing random numbers.

        Args:
            patch: Patch of an unlabelled case.
            rectifying: True if rectification has started.

        Returns:
            Output of the teacher.
        """
        image = torch.from_numpy(patch.image)[None].to(self._device)
        with self._autocast(), _no_deep_supervision(self._network):
            logits = self._network(image)
            features = self._taps.take()
            dim = getattr(self._heads, "dim", None)
            m = None if dim is None else relationship_map(self._heads, features, logits.shape[2:], detach=True).float()
        logits = logits.float()
        raw = self._probabilities(logits)
        rectified = self._probabilities(self._rectifier(logits, m)) if m is not None and rectifying else raw
        return TeacherPrediction(raw, rectified, None if m is None else self._map_of_classes(m))

    def _probabilities(self, logits: Tensor) -> np.ndarray:
        if self._order is None:
            return torch.softmax(logits, 1)[0].cpu().numpy()
        return class_probabilities(torch.sigmoid(logits)[0], self._order).cpu().numpy()

    def _map_of_classes(self, relationship_map: Tensor) -> np.ndarray:
        """Return M as logits of classes, (C, *patch)."""
        if self._order is None:
            return relationship_map[0].cpu().numpy()
        return class_probabilities(torch.sigmoid(relationship_map)[0], self._order).clamp(min=1e-6).log().cpu().numpy()


def class_probabilities(regions: Tensor, order: Sequence[int]) -> Tensor:
    """Turn probabilities of regions into those of the label values that nnU-Net writes.

    nnU-Net writes the regions one after the other, so a voxel has the value of the last region that it lies in.

    Args:
        regions: Probability of each region, (K, *grid).
        order: Value that is written for each region.

    Returns:
        Probability of each value from 0 to the largest one, (C, *grid); they sum to 1.

    Example:
        >>> class_probabilities(torch.tensor([0.5, 0.5]), [1, 2]).tolist()
        [0.25, 0.25, 0.5]
    """
    classes = torch.zeros(max(order) + 1, *regions.shape[1:], device=regions.device)
    outside = torch.ones_like(regions[0])
    for region, value in reversed(list(zip(regions, order, strict=True))):
        classes[value] += outside * region
        outside = outside * (1 - region)
    classes[0] += outside
    return classes


@contextlib.contextmanager
def _no_deep_supervision(network: nn.Module) -> Iterator[None]:
    decoder: Any = network.decoder
    before = decoder.deep_supervision
    decoder.deep_supervision = False
    try:
        yield
    finally:
        decoder.deep_supervision = before
