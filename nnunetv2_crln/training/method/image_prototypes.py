"""Give a second opinion on pseudo labels: prototypes of the classes in the same image.

A network that has learned from few images misjudges others in which a class looks different. But the voxels of a class
look alike within an image, and the teacher is right about most of them. So the mean features of the voxels that it is
sure of are prototypes of this image's classes, and the voxels around the foreground are judged anew by their distance
to them, in units of the spread within the classes (a linear discriminant). As many voxels stay foreground as before:
the teacher learns from what it is told here, and a foreground that grew a little in each step would grow without end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nnunetv2_crln.losses.class_samples import sample_per_class
from nnunetv2_crln.modules.feature_taps import DecoderFeatures
from nnunetv2_crln.modules.regions import as_regions, as_two_classes
from nnunetv2_crln.modules.upsampling import upsample_linear

SURE = 0.95
"""Probability from which a voxel counts for the prototype of its class."""
SAMPLES = 512
"""Voxels of each class from which its prototype and its spread are estimated, at most."""
FEWEST = 10
"""Voxels that a class needs for a prototype. A class with fewer is taken as absent from the image."""
RIDGE = 0.1
"""Added to the variances, which are about 1, because there may be fewer voxels than features."""
REACH = 1 / 20
"""How far from the foreground voxels are judged, as a share of the patch's side."""
LEAST_REACH = 2
"""How far in voxels, at least."""
COUNTED = 4096
"""Voxels by which the size of the foreground is kept, at most."""
LOWEST = -30.0
"""Smallest logarithm of a probability: a class without a prototype gets it, and stays possible."""


def image_prototype_map(logits: Tensor, features: DecoderFeatures) -> Tensor:
    """Compute the logarithm of each class's probability according to the prototypes of the same image.

    Args:
        logits: Before softmax, (B, C, *grid), in which class 0 is the background.
        features: Decoder features of the network that gave the logits.

    Returns:
        Map, (B, C, *grid), float32: 0 for all classes far from the foreground, and everywhere in images in which the
        network is sure of fewer than two classes. Added to the logits it rectifies them.
    """
    with torch.autocast(logits.device.type, enabled=False):
        log_probability = torch.log_softmax(logits.float(), 1)
        confidence, labels = log_probability.max(1)  # argmax alone takes ten times as long on a CPU
        judged = _around(labels > 0)
        sure = judged & (confidence >= math.log(SURE))
        levels = (features.quarter, features.half, features.full)
        by_image = zip(*levels, log_probability, labels, judged, sure, strict=True)
        maps = [_map_of_image(of_image[:3], *of_image[3:]) for of_image in by_image]
        return torch.stack(maps) * judged.unsqueeze(1)


def region_prototype_map(logits: Tensor, features: DecoderFeatures) -> Tensor:
    """Compute :func:`image_prototype_map` for regions, each of which has the classes outside and inside.

    Args:
        logits: One logit per region, (B, K, *grid).
        features: Decoder features of the network that gave the logits.

    Returns:
        One logit per region, (B, K, *grid), float32.
    """
    maps = [image_prototype_map(as_two_classes(region), features) for region in logits.split(1, 1)]
    return torch.cat([as_regions(of_region, 1) for of_region in maps], 1)


def _around(foreground: Tensor) -> Tensor:
    """Return the foreground of each image and what lies within reach of it, a box, (B, *grid)."""
    for axis, side in enumerate(foreground.shape[1:], start=1):
        reach, grown = max(LEAST_REACH, round(side * REACH)), 0
        while grown < min(reach, side - 1):
            step = min(2 * grown + 1, reach - grown, side - 1)  # the farthest that leaves no gap
            before = foreground
            foreground = before.clone()
            foreground.narrow(axis, step, side - step).logical_or_(before.narrow(axis, 0, side - step))
            foreground.narrow(axis, 0, side - step).logical_or_(before.narrow(axis, step, side - step))
            grown += step
    return foreground


def _map_of_image(
    features: Sequence[Tensor], log_probability: Tensor, labels: Tensor, judged: Tensor, sure: Tensor
) -> Tensor:
    """Judge every voxel of one image.

    Args:
        features: Features of the image, (F, *grid) each, the finest last.
        log_probability: Logarithm of the network's probabilities, (C, *grid).
        labels: Most probable class of each voxel, (*grid).
        judged: True for the voxels around the foreground, (*grid).
        sure: True for those among them that count for a prototype, (*grid).

    Returns:
        Logarithm of the probabilities, (C, *grid); 0 if fewer than two classes have a prototype.
    """
    samples = sample_per_class(labels.flatten(), sure.flatten(), len(log_probability), SAMPLES, at_random=False)
    counts = samples.valid.sum(1, keepdim=True)
    present = counts[:, 0] >= FEWEST
    weight = (samples.valid & present[:, None]).float().unsqueeze(2)
    found = torch.cat([_at_voxels(f, samples.voxels, labels.shape) for f in features], 2)
    kernels, offset = _discriminant(found, weight, counts.clamp(min=1).float())
    # The map is linear in the features, so that the coarse ones are judged at their own resolution.
    parts = kernels.split([len(f) for f in features])
    maps = [(part.T @ f.float().flatten(1)).unflatten(1, f.shape[1:]) for part, f in zip(parts, features, strict=True)]
    scores = torch.stack([upsample_linear(m.unsqueeze(0), labels.shape)[0] for m in maps]).sum(0)
    scores = scores + torch.where(present, offset, -torch.inf).view(-1, *[1] * labels.ndim)
    gain = _keep_size(log_probability + scores, labels, judged)
    scores = torch.cat([scores[:1] + torch.where(present[0], gain, 0.0), scores[1:]])
    return torch.where(present.sum() >= 2, torch.log_softmax(scores, 0).clamp(min=LOWEST), 0.0)


def _keep_size(scores: Tensor, labels: Tensor, judged: Tensor) -> Tensor:
    """Find what background must gain so that as many voxels are foreground as before.

    Args:
        scores: New score of each class, (C, *grid).
        labels: Former class of each voxel, (*grid).
        judged: True for the voxels that count, (*grid).

    Returns:
        Scalar tensor.
    """
    everything = torch.zeros_like(labels).flatten()
    counted = sample_per_class(everything, judged.flatten(), 1, COUNTED, at_random=False)
    voxels, valid = counted.voxels[0], counted.valid[0]
    lead = (scores[1:].amax(0) - scores[0]).flatten().index_select(0, voxels).masked_fill(~valid, -torch.inf)
    foreground = ((labels.flatten().index_select(0, voxels) > 0) & valid).sum()
    # The first of the voxels, ordered by the lead of the foreground, that is background from now on.
    first = foreground.clamp(max=COUNTED - 1).unsqueeze(0)
    return lead.sort(descending=True).values.gather(0, first).squeeze(0)


def _at_voxels(features: Tensor, voxels: Tensor, size: Sequence[int]) -> Tensor:
    """Return the features nearest to the voxels (C, K) of a grid of another size, (C, K, F), float32."""
    place, rest = torch.zeros_like(voxels), voxels
    stride = 1
    for own, side in zip(reversed(features.shape[1:]), reversed(size), strict=True):
        place = place + (rest % side) * own // side * stride
        rest, stride = rest // side, stride * own
    return features.flatten(1).index_select(1, place.flatten()).T.unflatten(0, voxels.shape).float()


def _discriminant(found: Tensor, weight: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Compute Fisher's linear discriminant with equal priors.

    Args:
        found: Features of the samples of each class, (C, K, F).
        weight: 1 for samples that count, 0 for others, (C, K, 1).
        counts: Number of samples of each class, (C, 1).

    Returns:
        Weights of the features, (F, C), and what is added to the score of each class, (C,).
    """
    total = weight.sum().clamp(min=1)
    centre = (found * weight).sum((0, 1)) / total
    centred = (found - centre) * weight
    scale = (centred.square().sum((0, 1)) / total).sqrt() + 1e-3
    scaled = centred / scale
    prototypes = scaled.sum(1) / counts
    spread = (scaled - prototypes.unsqueeze(1)) * weight / counts.sqrt().unsqueeze(2)
    classes = weight.amax((1, 2)).sum().clamp(min=1)
    covariance = torch.einsum("ckf,ckg->fg", spread, spread) / classes
    covariance = covariance + RIDGE * torch.eye(len(covariance), device=found.device)
    factor, _ = torch.linalg.cholesky_ex(covariance)  # unlike others it does not make the host wait for the device
    directions = torch.cholesky_solve(prototypes.T, factor)
    kernels = directions / scale.unsqueeze(1)
    return kernels, -(prototypes.T * directions).sum(0) / 2 - centre @ kernels
