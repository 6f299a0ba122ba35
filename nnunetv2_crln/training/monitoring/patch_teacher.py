"""Predict unlabelled cases with the teacher between epochs, without any effect on the training."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnunetv2_crln.training.method.crln import CRLN
from nnunetv2_crln.training.monitoring.patches import Patch


@dataclass(frozen=True)
class LabelMap:
    """Most probable class of each voxel of one patch.

    Attributes:
        labels: Class indices, (*patch), int16.
        confidence: Probability of that class, (*patch), float32.
    """

    labels: np.ndarray
    confidence: np.ndarray


@dataclass(frozen=True)
class TeacherPrediction:
    """Output of the teacher for one patch.

    Attributes:
        raw: Pseudo label before rectification.
        rectified: Pseudo label after rectification; ``raw`` itself before rectification starts.
        volumes: Sum of the rectified probabilities of each class over the voxels of the image, (C,), float32.
        map_labels: Most probable class of the relationship map M, (*patch), int16; None without a dynamic interaction
            module.
        relationship_map: Relationship map M, (C, *patch), float32; None if nobody asked for it.
    """

    raw: LabelMap
    rectified: LabelMap
    volumes: np.ndarray
    map_labels: np.ndarray | None
    relationship_map: np.ndarray | None


class PatchTeacher:
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
        self._heads: Any = method.teacher_heads.module
        self._rectifier = method.rectifier
        self._device, self._autocast = device, autocast

    @torch.no_grad()
    def __call__(self, patch: Patch, rectifying: bool, with_map: bool = False) -> TeacherPrediction:
        """Predict one patch without drawing random numbers.

        Args:
            patch: Patch of an unlabelled case.
            rectifying: True if rectification has started.
            with_map: Return the relationship map as well.

        Returns:
            Output of the teacher.
        """
        image = torch.from_numpy(patch.image)[None].to(self._device)
        with self._autocast():
            logits = self._network(image)
            features = self._taps.take()
            m = self._heads.second_opinion(logits, features)
        logits, m = logits.float(), None if m is None else m.float()
        probabilities = self._probabilities(logits)
        raw = rectified = _pseudo_label(probabilities)
        if m is not None and rectifying:
            probabilities = self._probabilities(self._rectifier(logits, m))
            rectified = _pseudo_label(probabilities)
        inside = torch.from_numpy(patch.inside).to(probabilities)
        # Only what has no axis of classes leaves the device: with a hundred classes the rest takes seconds.
        volumes = (probabilities.flatten(1) @ inside.flatten()).cpu().numpy()
        if m is None:
            return TeacherPrediction(raw, rectified, volumes, None, None)
        m = self._map_of_classes(m)
        return TeacherPrediction(raw, rectified, volumes, _classes(m.argmax(0)), m.cpu().numpy() if with_map else None)

    def _probabilities(self, logits: Tensor) -> Tensor:
        if self._order is None:
            return torch.softmax(logits, 1)[0]
        return class_probabilities(torch.sigmoid(logits)[0], self._order)

    def _map_of_classes(self, relationship_map: Tensor) -> Tensor:
        """Return M as logits of classes, (C, *patch)."""
        if self._order is None:
            return relationship_map[0]
        return class_probabilities(torch.sigmoid(relationship_map)[0], self._order).clamp(min=1e-6).log()


def _pseudo_label(probabilities: Tensor) -> LabelMap:
    confidence, labels = probabilities.max(0)
    return LabelMap(_classes(labels), confidence.cpu().numpy())


def _classes(indices: Tensor) -> np.ndarray:
    return indices.short().cpu().numpy()


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
