"""Rectify logits with the holistic relationship map (Eq. 8; Eq. 17 and the concatenation of Table 7)."""

import math

import torch
from torch import Tensor, nn


def _check_same_shape(logits: Tensor, relationship_map: Tensor) -> None:
    if logits.shape != relationship_map.shape:
        raise ValueError(
            f"Logits {tuple(logits.shape)} and relationship map {tuple(relationship_map.shape)} differ in shape; "
            "interpolate the map to the logits' grid first."
        )


def rectify_logits(logits: Tensor, relationship_map: Tensor, mu: Tensor) -> Tensor:
    """Rectify logits by adding the holistic relationship map, weighted by 1 - mu (Eq. 8).

    Args:
        logits: Before softmax, (B, C, X, Y, Z).
        relationship_map: Map of the dynamic interaction module, (B, C, X, Y, Z).
        mu: Correction parameter in [0, 1], scalar tensor; 1 leaves the logits unchanged.

    Returns:
        Rectified logits, (B, C, X, Y, Z). Gradients reach all three inputs.

    Raises:
        ValueError: Logits and map differ in shape.

    Example:
        >>> rectify_logits(torch.zeros(1, 1, 1, 1, 1), torch.ones(1, 1, 1, 1, 1), torch.tensor(0.25)).item()
        0.75
    """
    _check_same_shape(logits, relationship_map)
    return logits + (1 - mu) * relationship_map


def rectify_where_unsure(logits: Tensor, relationship_map: Tensor, confidence_threshold: float = math.inf) -> Tensor:
    """Replace logits by the map where the logits are unconfident and the map is more confident (Eq. 17).

    Args:
        logits: Before softmax, (B, C, *grid).
        relationship_map: Map of the dynamic interaction module, (B, C, *grid).
        confidence_threshold: Keep the logits wherever their largest probability reaches this value; by default nowhere,
            so that the more confident of the two is taken.

    Returns:
        Rectified logits, (B, C, *grid); each voxel comes from either ``logits`` or ``relationship_map``.

    Raises:
        ValueError: Logits and map differ in shape.
    """
    _check_same_shape(logits, relationship_map)
    confidence = torch.softmax(logits, 1).amax(1, keepdim=True)
    map_confidence = torch.softmax(relationship_map, 1).amax(1, keepdim=True)
    replace = (confidence < confidence_threshold) & (map_confidence > confidence)
    return torch.where(replace, relationship_map, logits)


def agreement(logits: Tensor, relationship_map: Tensor, disagreement_weight: float) -> Tensor:
    """Trust a voxel fully where logits and relationship map name the same class, and less where they differ.

    Args:
        logits: Before softmax, (B, C, *grid).
        relationship_map: Map of the dynamic interaction module, (B, C, *grid).
        disagreement_weight: Trust where they differ, in [0, 1].

    Returns:
        (B, *grid), of the logits' type.
    """
    same = logits.argmax(1) == relationship_map.argmax(1)
    return same.to(logits.dtype) * (1 - disagreement_weight) + disagreement_weight


class Rectification(nn.Module):
    """Base class of all ways to rectify: ``forward`` maps logits and relationship map to rectified logits.

    Attributes:
        decides_by_probability: True if probabilities decide, in which classes that cannot be must have no share; False
            if logits are added, which need finite values.
    """

    decides_by_probability = False

    def correction_parameter(self) -> Tensor | None:
        """Return mu of Eq. 8, a scalar tensor; None if the rectification has none, the default."""
        return None

    def trust(self, logits: Tensor, relationship_map: Tensor) -> Tensor | None:
        """Weight each voxel's pseudo label.

        Args:
            logits: Before softmax, (B, C, *grid).
            relationship_map: Map of the dynamic interaction module, (B, C, *grid).

        Returns:
            Weights in [0, 1], (B, *grid); None for 1 everywhere, the default.
        """
        return None

    def project(self) -> None:
        """Bring the parameters back into their bounds after an update; by default there are none."""


class CorrectionParameter(Rectification):
    """Rectify with a learned scalar mu (Eq. 8), projected back into [0, 1] after each update (Eq. 16).

    This is the setting ``"rectification": "learned"``.

    Args:
        initial: Initial value of mu.
    """

    def __init__(self, initial: float = 0.0) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.tensor(float(initial)))

    def correction_parameter(self) -> Tensor:
        """Return mu, a scalar tensor."""
        return self.mu

    def forward(self, logits: Tensor, relationship_map: Tensor) -> Tensor:
        """Rectify logits with :func:`rectify_logits`.

        Args:
            logits: Before softmax, (B, C, *grid).
            relationship_map: Map of the dynamic interaction module, (B, C, *grid).

        Returns:
            Rectified logits, (B, C, *grid). Gradients reach both inputs and mu.
        """
        return rectify_logits(logits, relationship_map, self.mu)

    @torch.no_grad()
    def project(self) -> None:
        """Clamp mu to [0, 1]."""
        self.mu.clamp_(0, 1)


class SumRectification(Rectification):
    """Add the map of the image's own prototypes to the logits; the setting ``"rectification": "image"``."""

    def forward(self, logits: Tensor, relationship_map: Tensor) -> Tensor:
        """Rectify logits.

        Args:
            logits: Before softmax, (B, C, *grid).
            relationship_map: Logarithm of the probabilities that the map gives, (B, C, *grid).

        Returns:
            Rectified logits, (B, C, *grid).

        Raises:
            ValueError: Logits and map differ in shape.
        """
        _check_same_shape(logits, relationship_map)
        return logits + relationship_map


class ConcatRectification(Rectification):
    """Rectify with a 1x1x1 convolution over the concatenated logits and map (Table 7).

    This is the setting ``"rectification": "concat"``. The convolution starts as Eq. 8 with mu = 0, the sum of logits
    and map, so that its output is useful before it has learned anything.

    Args:
        num_classes: Number of classes, C.
        ndim: Number of spatial dimensions, 2 or 3.
    """

    def __init__(self, num_classes: int, ndim: int) -> None:
        super().__init__()
        self.mix = (nn.Conv3d if ndim == 3 else nn.Conv2d)(2 * num_classes, num_classes, 1)
        identity = torch.eye(num_classes)
        with torch.no_grad():
            self.mix.weight.copy_(torch.cat([identity, identity], 1).reshape(self.mix.weight.shape))
            nn.init.zeros_(self.mix.bias)  # type: ignore[arg-type]

    def forward(self, logits: Tensor, relationship_map: Tensor) -> Tensor:
        """Mix logits and map.

        Args:
            logits: Before softmax, (B, C, *grid).
            relationship_map: Map of the dynamic interaction module, (B, C, *grid).

        Returns:
            Rectified logits, (B, C, *grid). Gradients reach both inputs and the convolution.

        Raises:
            ValueError: Logits and map differ in shape.
        """
        _check_same_shape(logits, relationship_map)
        return self.mix(torch.cat([logits, relationship_map], 1))


class FixedRectification(Rectification):
    """Rectify with :func:`rectify_where_unsure`, without parameters; the setting ``"rectification": "fixed"``.

    Args:
        confidence_threshold: Keep the logits wherever their largest probability reaches this value.
    """

    decides_by_probability = True

    def __init__(self, confidence_threshold: float) -> None:
        super().__init__()
        self.confidence_threshold = confidence_threshold

    def forward(self, logits: Tensor, relationship_map: Tensor) -> Tensor:
        """Rectify logits with :func:`rectify_where_unsure`.

        Args:
            logits: Before softmax, (B, C, *grid).
            relationship_map: Map of the dynamic interaction module, (B, C, *grid).

        Returns:
            Rectified logits, (B, C, *grid).
        """
        return rectify_where_unsure(logits, relationship_map, self.confidence_threshold)


class AgreementRectification(Rectification):
    """Use the map as a second opinion instead of an addend; the setting ``"rectification": "agreement"``.

    The more confident of the two determines the label (:func:`rectify_where_unsure`). Where they predict different
    classes, the voxel has the weight ``disagreement_weight`` instead of 1 (:func:`agreement`). The module has no
    parameters.

    Args:
        disagreement_weight: Trust where logits and map differ, in [0, 1].
    """

    decides_by_probability = True

    def __init__(self, disagreement_weight: float) -> None:
        super().__init__()
        self.disagreement_weight = disagreement_weight

    def forward(self, logits: Tensor, relationship_map: Tensor) -> Tensor:
        """Rectify logits with :func:`rectify_where_unsure`, however confident they are.

        Args:
            logits: Before softmax, (B, C, *grid).
            relationship_map: Map of the dynamic interaction module, (B, C, *grid).

        Returns:
            Rectified logits, (B, C, *grid).
        """
        return rectify_where_unsure(logits, relationship_map)

    def trust(self, logits: Tensor, relationship_map: Tensor) -> Tensor:
        """Weight each voxel's pseudo label with :func:`agreement`.

        Args:
            logits: Before softmax, (B, C, *grid).
            relationship_map: Map of the dynamic interaction module, (B, C, *grid).

        Returns:
            Weights in [0, 1], (B, *grid).
        """
        return agreement(logits, relationship_map, self.disagreement_weight)
