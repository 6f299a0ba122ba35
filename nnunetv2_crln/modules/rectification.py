"""Correcting logits with the holistic relationship map (Eq. 8, and Eq. 17 and the concatenation of Table 7)."""

import torch
from torch import Tensor, nn


def _check_same_shape(logits: Tensor, relationship_map: Tensor) -> None:
    if logits.shape != relationship_map.shape:
        raise ValueError(
            f"Logits {tuple(logits.shape)} and relationship map {tuple(relationship_map.shape)} differ in shape; "
            "interpolate the map to the logits' grid first."
        )


def rectify_logits(logits: Tensor, relationship_map: Tensor, mu: Tensor) -> Tensor:
    """Correct logits with the holistic relationship map, weighted by 1 - mu (Eq. 8).

    Args:
        logits: Before softmax, (B, C, X, Y, Z).
        relationship_map: Logit map of the DIM, same shape.
        mu: Correction parameter in [0, 1], scalar; 1 leaves the logits alone.

    Returns:
        Rectified logits, (B, C, X, Y, Z). Gradients reach all three inputs.

    Raises:
        ValueError: The two maps differ in shape.

    Example:
        >>> rectify_logits(torch.zeros(1, 1, 1, 1, 1), torch.ones(1, 1, 1, 1, 1), torch.tensor(0.25)).item()
        0.75
    """
    _check_same_shape(logits, relationship_map)
    return logits + (1 - mu) * relationship_map


def rectify_where_unsure(logits: Tensor, relationship_map: Tensor, confidence_threshold: float) -> Tensor:
    """Take the map where the logits are unsure and the map is surer (``fixed``, Eq. 17).

    Args:
        logits: Before softmax, (B, C, ...).
        relationship_map: Same shape.
        confidence_threshold: Logits whose largest probability reaches it stay.

    Returns:
        (B, C, ...); each voxel is either that of ``logits`` or that of ``relationship_map``.

    Raises:
        ValueError: The two maps differ in shape.
    """
    _check_same_shape(logits, relationship_map)
    confidence = torch.softmax(logits, 1).amax(1, keepdim=True)
    map_confidence = torch.softmax(relationship_map, 1).amax(1, keepdim=True)
    replace = (confidence < confidence_threshold) & (map_confidence > confidence)
    return torch.where(replace, relationship_map, logits)


class CorrectionParameter(nn.Module):
    """``learned``: the scalar mu of Eq. 8, kept in [0, 1] by projection after each update (Eq. 16)."""

    def __init__(self, initial: float = 0.0) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.tensor(float(initial)))

    def forward(self, logits: Tensor, relationship_map: Tensor) -> Tensor:
        return rectify_logits(logits, relationship_map, self.mu)

    @torch.no_grad()
    def project(self) -> None:
        """Bring mu back into [0, 1]."""
        self.mu.clamp_(0, 1)


class ConcatRectification(nn.Module):
    """``concat``: a 1x1x1 convolution over the concatenated logits and map (Table 7).

    It starts as Eq. 8 with mu = 0, the sum of both, so that it can be used before it has learned anything.
    """

    def __init__(self, num_classes: int, ndim: int) -> None:
        super().__init__()
        self.mix = (nn.Conv3d if ndim == 3 else nn.Conv2d)(2 * num_classes, num_classes, 1)
        identity = torch.eye(num_classes)
        with torch.no_grad():
            self.mix.weight.copy_(torch.cat([identity, identity], 1).reshape(self.mix.weight.shape))
            nn.init.zeros_(self.mix.bias)  # type: ignore[arg-type]

    def forward(self, logits: Tensor, relationship_map: Tensor) -> Tensor:
        _check_same_shape(logits, relationship_map)
        return self.mix(torch.cat([logits, relationship_map], 1))

    def project(self) -> None:
        """Nothing to bound."""


class FixedRectification(nn.Module):
    """``fixed``: :func:`rectify_where_unsure`; has no parameter."""

    def __init__(self, confidence_threshold: float) -> None:
        super().__init__()
        self.confidence_threshold = confidence_threshold

    def forward(self, logits: Tensor, relationship_map: Tensor) -> Tensor:
        return rectify_where_unsure(logits, relationship_map, self.confidence_threshold)

    def project(self) -> None:
        """Nothing to bound."""
