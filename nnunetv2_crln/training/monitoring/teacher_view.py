"""Predict unlabelled cases with the teacher between epochs, without any effect on the training."""

import contextlib
from collections.abc import Callable
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
    """

    def __init__(
        self, method: CRLN, device: torch.device, autocast: Callable[[], contextlib.AbstractContextManager]
    ) -> None:
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
        raw = _probabilities(logits)
        rectified = _probabilities(self._rectifier(logits, m)) if m is not None and rectifying else raw
        return TeacherPrediction(raw, rectified, None if m is None else m[0].cpu().numpy())


def _probabilities(logits: Tensor) -> np.ndarray:
    return torch.softmax(logits, 1)[0].cpu().numpy()


@contextlib.contextmanager
def _no_deep_supervision(network: nn.Module):
    decoder: Any = network.decoder
    before = decoder.deep_supervision
    decoder.deep_supervision = False
    try:
        yield
    finally:
        decoder.deep_supervision = before
