"""Average two predictions: from their logits to those of the mean probability, without rounding it to 0 or 1."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def mean_of_classes(first: Tensor, second: Tensor) -> Tensor:
    """Return logits whose softmax is the mean of both predictions' softmax.

    A softmax does not change if a number is added to all logits of a voxel. This number is chosen so that the mean of a
    prediction with itself is this prediction: what reads logits and not probabilities finds them on their usual scale.

    Args:
        first: Logits of the classes, (B, C, *grid), in any precision.
        second: Logits of another prediction of the same voxels, (B, C, *grid).

    Returns:
        Logits, (B, C, *grid), float32.

    Example:
        >>> mean = mean_of_classes(torch.tensor([[9.0, 9.0]]), torch.tensor([[-90.0, 0.0]]))
        >>> torch.softmax(mean, 1).round(decimals=2).tolist()
        [[0.25, 0.75]]
    """
    first, second = first.float(), second.float()
    shift = (first.logsumexp(1, keepdim=True) - second.logsumexp(1, keepdim=True)) / 2
    return torch.logaddexp(first - shift, second + shift) - math.log(2)


def mean_of_regions(first: Tensor, second: Tensor) -> Tensor:
    """Return logits whose sigmoid is the mean of both predictions' sigmoid.

    Args:
        first: One logit per region, (B, K, *grid), in any precision.
        second: Logits of another prediction of the same voxels, (B, K, *grid).

    Returns:
        Logits, (B, K, *grid), float32.
    """
    first, second = first.float(), second.float()
    inside = torch.logaddexp(F.logsigmoid(first), F.logsigmoid(second))
    outside = torch.logaddexp(F.logsigmoid(-first), F.logsigmoid(-second))
    return inside - outside
