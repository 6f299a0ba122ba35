"""Change the geometry from the weak to the strong view: CutMix, copy-paste and flips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


def _random_box(shape: tuple[int, ...], side_share: float, rng: np.random.Generator) -> tuple[slice, ...]:
    box = []
    for extent in shape:
        side = max(1, round(extent * side_share))
        start = int(rng.integers(0, extent - side + 1))
        box.append(slice(start, start + side))
    return tuple(box)


def cutmix_box(shape: tuple[int, ...], alpha: float, rng: np.random.Generator) -> tuple[slice, ...]:
    """Draw a random box whose share of the patch follows Beta(alpha, alpha).

    Args:
        shape: Shape of the patch in voxels.
        alpha: Parameter of the Beta distribution.
        rng: Generator to draw from.

    Returns:
        Slice of each axis; each side has the same share of its axis, up to rounding.
    """
    return _random_box(shape, rng.beta(alpha, alpha) ** (1 / len(shape)), rng)


PASTED_SIDE = 2 / 3
"""Sides of a copy-paste box, as a share of the patch's: 30 % of a 3D patch, 44 % of a 2D one."""


def copy_paste_voxels(shape: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    """Draw the voxels to take from a labelled patch: a random box or everything around it, either as likely.

    Args:
        shape: Shape of the patch in voxels.
        rng: Generator to draw from.

    Returns:
        True for the voxels to take, (*grid), bool, on the CPU.
    """
    inside = torch.zeros(shape, dtype=torch.bool)
    inside[_random_box(shape, PASTED_SIDE, rng)] = True
    return inside if rng.random() < 0.5 else ~inside


@dataclass(frozen=True)
class StrongGeometry:
    """Geometric changes from the weak to the strong view, for images, pseudo labels and confidences alike.

    Each sample takes voxels from its neighbour in the batch (the next one, cyclically: CutMix) or from a labelled patch
    (copy-paste), and is then flipped.

    Attributes:
        boxes: True for voxels taken from elsewhere, (B, *grid), bool.
        flips: True for axes to flip, (B, ndim), bool, on the CPU.
        pasted: True for samples whose voxels come from a labelled patch, (B,), bool, on the CPU. Sample i takes them
            from labelled patch i, counted cyclically.
    """

    boxes: Tensor
    flips: Tensor
    pasted: Tensor

    @classmethod
    def draw(
        cls,
        batch_size: int,
        shape: tuple[int, ...],
        alpha: float,
        cutmix_probability: float,
        flip_axes: tuple[int, ...],
        rng: np.random.Generator,
        copy_paste_probability: float = 0.0,
    ) -> StrongGeometry:
        """Draw the changes of one batch; a single sample has no neighbour, but can be mixed with a labelled patch.

        Args:
            batch_size: Number of samples, B.
            shape: Shape of the patches in voxels.
            alpha: Parameter of the Beta distribution of the boxes.
            cutmix_probability: Probability that a sample takes a box from its neighbour.
            flip_axes: Axes that may be flipped.
            rng: Generator to draw from.
            copy_paste_probability: Probability that a sample is mixed with a labelled patch instead.

        Returns:
            The changes.
        """
        boxes = torch.zeros((batch_size, *shape), dtype=torch.bool)
        flips = torch.zeros((batch_size, len(shape)), dtype=torch.bool)
        pasted = torch.zeros(batch_size, dtype=torch.bool)
        for sample in range(batch_size):
            if copy_paste_probability and rng.random() < copy_paste_probability:
                pasted[sample] = True
                boxes[sample] = copy_paste_voxels(shape, rng)
            elif batch_size > 1 and rng.random() < cutmix_probability:
                boxes[sample][cutmix_box(shape, alpha, rng)] = True
            for axis in flip_axes:
                flips[sample, axis] = bool(rng.random() < 0.5)
        return cls(boxes, flips, pasted)

    def apply(self, batch: Tensor, labelled: Tensor | None = None) -> Tensor:
        """Apply the changes to a batch of images (B, C, *grid) or of maps (B, *grid).

        Args:
            batch: Images or maps of the unlabelled patches.
            labelled: Images or maps of the labelled patches, (L, C, *grid) or (L, *grid); needed for copy-paste.

        Returns:
            Changed batch, of the same shape.
        """
        boxes = self.boxes if batch.ndim == self.boxes.ndim else self.boxes.unsqueeze(1)
        return self.flip(torch.where(boxes, self._sources(batch, labelled), batch))

    def flip(self, batch: Tensor) -> Tensor:
        """Flip the samples (B, C, *grid) or (B, *grid) without mixing them; flipping twice restores them."""
        if not self.flips.any():
            return batch
        first_axis = batch.ndim - 1 - self.flips.shape[1]
        return torch.stack(
            [
                sample.flip([first_axis + axis for axis, flip in enumerate(flips) if flip])
                for sample, flips in zip(batch, self.flips.tolist(), strict=True)
            ]
        )

    def _sources(self, batch: Tensor, labelled: Tensor | None) -> Tensor:
        """Collect the patches from which the samples take voxels; the result has the shape of ``batch``."""
        neighbours = batch.roll(-1, 0)
        if labelled is None or not self.pasted.any():
            return neighbours
        return torch.stack(
            [
                labelled[sample % len(labelled)].to(batch.dtype) if pasted else neighbours[sample]
                for sample, pasted in enumerate(self.pasted.tolist())
            ]
        )
