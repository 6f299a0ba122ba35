"""Draw voxels of each class on the device.

All shapes are static, so that the host never waits for the device: a class with fewer voxels than requested is padded,
and the padding is masked.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

_BLOCK = 64
"""Voxels that are counted together before a single one is looked for."""


@dataclass(frozen=True)
class ClassSamples:
    """Voxels drawn for each class without replacement.

    Attributes:
        voxels: Flat voxel indices, (C, K), integers. Entries that are not valid are arbitrary.
        valid: True for the entries that belong to the class, (C, K), bool.
    """

    voxels: Tensor
    valid: Tensor


def sample_per_class(
    labels: Tensor, eligible: Tensor, num_classes: int, num_samples: int, at_random: bool = True
) -> ClassSamples:
    """Draw up to K eligible voxels of each class, on the device, with a static shape.

    The eligible voxels of a class are numbered in order. The range of numbers is split into K disjoint parts and one
    number is drawn from each, so that no voxel is drawn twice. This costs one pass over the voxels per class, and no
    sort.

    Args:
        labels: Class of each voxel, (N,), 0...C-1 where eligible.
        eligible: True for voxels that may be drawn, (N,), bool.
        num_classes: Number of classes, C.
        num_samples: Number of samples per class, K.
        at_random: Draw them at random; if False, take them at equal distances in the order of the voxels.

    Returns:
        Samples of shape (C, K); a class with fewer than K eligible voxels has that many valid entries.
    """
    # Classes count from 1 here; 0 is no class, also in the padding. Faster than torch.where on a CPU.
    blocks = F.pad((labels + 1) * eligible, (0, -len(labels) % _BLOCK)).unflatten(0, (-1, _BLOCK))
    per_block = torch.stack([(blocks == label + 1).sum(1, dtype=torch.int32) for label in range(num_classes)])
    up_to_block = per_block.cumsum(1, dtype=torch.int32)
    count = up_to_block[:, -1:].long()
    drawn, valid = _draw_numbers(count, num_samples, at_random)
    block = torch.searchsorted(up_to_block, drawn.to(torch.int32), right=True).clamp(max=len(blocks) - 1)
    number_in_block = drawn - (up_to_block - per_block).gather(1, block)
    # Of the few blocks that were hit every voxel is numbered.
    of_class = blocks[block] == torch.arange(1, num_classes + 1, device=labels.device).view(-1, 1, 1)
    place = (of_class.cumsum(2, dtype=torch.int32) <= number_in_block[..., None]).sum(2)
    return ClassSamples((block * _BLOCK + place).clamp(max=len(labels) - 1), valid)


def _draw_numbers(count: Tensor, num_samples: int, at_random: bool) -> tuple[Tensor, Tensor]:
    """Draw K different numbers below each count, (C, 1); return them and which of them exist, both (C, K)."""
    position = torch.arange(num_samples, device=count.device)
    start = position * count // num_samples
    if not at_random:
        return torch.where(count > num_samples, start, position), position < count
    length = (position + 1) * count // num_samples - start
    # The parts' lengths differ by at most one; rotating all numbers by the same amount makes each equally likely.
    random = torch.rand(len(count), num_samples + 1, device=count.device)
    turned = start + (random[:, 1:] * length).long() + (random[:, :1] * count).long()
    drawn = torch.where(count > num_samples, turned % count.clamp(min=1), position)
    return drawn, position < count
