"""Cooperative Positive Supervision, the paper's contrastive loss on uncertain voxels (Sec. 3.3, Eq. 9-14)."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from nnunetv2_crln.losses.class_samples import ClassSamples, sample_per_class


def positives(means: Tensor, prototypes: Tensor | None, prototype_weight: float) -> Tensor:
    """Mix the mean representation of each class with its prototypes: the unassertive positive (Eq. 13), detached.

    Both are normalised first, because their norms are learned separately and differ greatly, and cosine similarity
    compares only directions.

    Args:
        means: Mean representation of each class, (C, F).
        prototypes: Learned prototypes, (C, R, F), or None before rectification starts, to use the mean alone.
        prototype_weight: Weight xi of the prototypes.

    Returns:
        Positive of each class, (C, F), without gradient.
    """
    mean = F.normalize(means.detach(), dim=1)
    if prototypes is None:
        return mean
    prototype = F.normalize(prototypes.detach().mean(1), dim=1)
    return (mean + prototype_weight * prototype) / (1 + prototype_weight)


def draw_negatives(pool: ClassSamples, means: Tensor, num_negatives: int, temperature: float) -> tuple[Tensor, Tensor]:
    """Draw the negatives of each class from other classes, more often from classes with similar means (ReCo; Eq. 11).

    Args:
        pool: Voxels drawn for each class, (C, K).
        means: Mean representation of each class, (C, F).
        num_negatives: Number of negatives per class, shared by its anchors.
        temperature: Temperature of the softmax over the similarities of the class means.

    Returns:
        Index of each negative into the flattened pool, (C, num_negatives), and whether the class has any negative,
        (C,), bool.
    """
    num_classes, pool_size = pool.valid.shape
    count = pool.valid.sum(1)
    direction = F.normalize(means.detach(), dim=1)
    other = ~torch.eye(num_classes, dtype=torch.bool, device=means.device) & (count > 0)
    similarity = (direction @ direction.T / temperature).masked_fill(~other, -torch.inf)
    has_negatives = other.any(1)
    # A class alone in the batch has no distribution over other classes: use any, because the class is left out.
    share = torch.where(has_negatives[:, None], similarity, torch.zeros_like(similarity)).softmax(1)
    cumulative = share.cumsum(1)
    drawn = torch.rand(num_classes, num_negatives, device=means.device) * cumulative[:, -1:]
    drawn_class = torch.searchsorted(cumulative, drawn, right=True).clamp(max=num_classes - 1)
    within = (torch.rand(drawn.shape, device=means.device) * count[drawn_class]).long()
    return drawn_class * pool_size + within.clamp(max=pool_size - 1), has_negatives


def info_nce(anchors: Tensor, positive: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Compute the InfoNCE loss of each anchor with its class's positive and negatives, by cosine similarity (Eq. 14).

    Args:
        anchors: Representations of the anchors, (C, A, F).
        positive: Positive of each class, (C, F).
        negatives: Negatives of each class, (C, N, F).
        temperature: Divisor of the similarities.

    Returns:
        Loss of each anchor, (C, A). Gradients reach all three inputs.
    """
    anchors = F.normalize(anchors, dim=-1) / temperature
    others = F.normalize(torch.cat([positive.unsqueeze(1), negatives], 1), dim=-1)
    return -F.log_softmax(anchors @ others.transpose(1, 2), -1)[..., 0]


def cooperative_positive_supervision(
    represent: Callable[[Tensor], Tensor],
    labels: Tensor,
    valid: Tensor,
    uncertain: Tensor,
    num_classes: int,
    prototypes: Tensor | None,
    prototype_weight: float,
    num_anchors: int = 256,
    num_negatives: int = 512,
    temperature: float = 0.5,
) -> Tensor:
    """Pull uncertain representations towards an unassertive positive of their class (Eq. 14).

    Args:
        represent: Function from flat voxel indices (N,) to representations (N, F), with gradient.
        labels: True label or rectified pseudo label of each voxel, (V,).
        valid: True for labelled voxels and for unlabelled ones with a confident pseudo label (Eq. 10, 12), (V,), bool.
        uncertain: True where the student is uncertain about the label, (V,), bool.
        num_classes: Number of classes, C.
        prototypes: Learned prototypes, (C, R, F), or None to use the class means alone.
        prototype_weight: Weight xi of the prototypes (Eq. 13).
        num_anchors: Largest number of anchors per class.
        num_negatives: Number of negatives per class; also the number of voxels from which its mean is estimated.
        temperature: Temperature of InfoNCE and of the choice of negatives.

    Returns:
        Scalar, the mean over the classes that have anchors and negatives; zero if there are none. Gradients reach the
        representations of anchors and negatives.
    """
    labels = labels.to(torch.int16)  # compared with every class: a quarter of the memory traffic
    anchors = sample_per_class(labels, valid & uncertain, num_classes, num_anchors)
    pool = sample_per_class(labels, valid, num_classes, num_negatives)
    represented = represent(torch.cat([anchors.voxels.flatten(), pool.voxels.flatten()])).float()
    anchor_repr, pool_repr = represented.split([anchors.voxels.numel(), pool.voxels.numel()])
    pool_repr = pool_repr.unflatten(0, pool.voxels.shape)

    weight = pool.valid[..., None].float()
    means = (pool_repr * weight).sum(1) / weight.sum(1).clamp(min=1)
    negative_index, has_negatives = draw_negatives(pool, means, num_negatives, temperature)
    loss = info_nce(
        anchor_repr.unflatten(0, anchors.voxels.shape),
        positives(means, prototypes, prototype_weight),
        pool_repr.flatten(0, 1)[negative_index],
        temperature,
    )
    counted = (anchors.valid & has_negatives[:, None]).float()
    per_class = (loss * counted).sum(1) / counted.sum(1).clamp(min=1)
    present = counted.sum(1) > 0
    return (per_class * present).sum() / present.sum().clamp(min=1)
