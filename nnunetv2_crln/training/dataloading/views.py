"""Make weak and strong views of unlabelled patches, and apply the geometric changes to their pseudo labels."""

from dataclasses import dataclass

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.rot90 import Rot90Transform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.nnunet_masking import MaskImageTransform
from batchgeneratorsv2.transforms.utils.pseudo2d import Convert2DTo3DTransform, Convert3DTo2DTransform
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from torch import Tensor

_GEOMETRIC = (
    SpatialTransform,
    MirrorTransform,
    Rot90Transform,
    Convert3DTo2DTransform,
    Convert2DTo3DTransform,
    MaskImageTransform,
)


def weak_transforms(training_transforms: ComposeTransforms) -> ComposeTransforms:
    """Select the geometric part of nnU-Net's augmentation for labelled patches: the teacher's view."""
    return ComposeTransforms([t for t in training_transforms.transforms if isinstance(t, _GEOMETRIC)])


def repeatable(transforms: ComposeTransforms) -> ComposeTransforms:
    """Stop nnU-Net's blur from choosing an implementation by timing, because the two differ in the last bits."""
    for transform in transforms.transforms:
        inner = getattr(transform, "transform", transform)
        if isinstance(inner, GaussianBlurTransform):
            inner.benchmark = False
    return transforms


def strong_intensity_transforms(training_transforms: ComposeTransforms, kind: str = "nnunet") -> ComposeTransforms:
    """Build the intensity changes of the strong view, which the student sees and the teacher does not.

    Args:
        training_transforms: Transforms of the labelled patches; axes with thick slices keep their resolution as there.
        kind: ``"nnunet"`` for nnU-Net's changes at the same strengths but applied more often, ``"noise"`` for Gaussian
            noise alone as in the paper, or ``"none"``.

    Returns:
        Transforms of an image.
    """
    if kind == "none":
        return ComposeTransforms([])
    if kind == "noise":
        # 0.1 standard deviations of the (z-scored) image, as is usual for mean teachers in the field.
        return ComposeTransforms([GaussianNoiseTransform(noise_variance=0.1, p_per_channel=1)])
    ignored_axes = next(
        (
            inner.ignore_axes
            for t in training_transforms.transforms
            if isinstance(inner := getattr(t, "transform", t), SimulateLowResolutionTransform)
        ),
        None,
    )

    def often(transform: BasicTransform, probability: float) -> RandomTransform:
        return RandomTransform(transform, apply_probability=probability)

    return ComposeTransforms(
        [
            often(GaussianNoiseTransform(noise_variance=(0, 0.1), p_per_channel=1, synchronize_channels=True), 0.5),
            often(
                GaussianBlurTransform(
                    blur_sigma=(0.5, 1.0), synchronize_channels=False, synchronize_axes=False, p_per_channel=0.5
                ),
                0.2,
            ),
            often(
                MultiplicativeBrightnessTransform(
                    multiplier_range=BGContrast((0.75, 1.25)), synchronize_channels=False, p_per_channel=1
                ),
                0.5,
            ),
            often(
                ContrastTransform(
                    contrast_range=BGContrast((0.75, 1.25)),
                    preserve_range=True,
                    synchronize_channels=False,
                    p_per_channel=1,
                ),
                0.5,
            ),
            often(
                SimulateLowResolutionTransform(
                    scale=(0.5, 1),
                    synchronize_channels=False,
                    synchronize_axes=True,
                    ignore_axes=ignored_axes,
                    allowed_channels=None,
                    p_per_channel=0.5,
                ),
                0.25,
            ),
            often(
                GammaTransform(
                    gamma=BGContrast((0.7, 1.5)),
                    p_invert_image=0.25,
                    synchronize_channels=False,
                    p_per_channel=1,
                    p_retain_stats=1,
                ),
                0.4,
            ),
        ]
    )


def cutmix_box(shape: tuple[int, ...], alpha: float, rng: np.random.Generator) -> tuple[slice, ...]:
    """Draw a random box whose share of the patch follows Beta(alpha, alpha).

    Args:
        shape: Shape of the patch in voxels.
        alpha: Parameter of the Beta distribution.
        rng: Generator to draw from.

    Returns:
        Slice of each axis; each side has the same share of its axis, up to rounding.
    """
    side_share = rng.beta(alpha, alpha) ** (1 / len(shape))
    box = []
    for extent in shape:
        side = max(1, round(extent * side_share))
        start = int(rng.integers(0, extent - side + 1))
        box.append(slice(start, start + side))
    return tuple(box)


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
    box = []
    for extent in shape:
        side = max(1, round(extent * PASTED_SIDE))
        start = int(rng.integers(0, extent - side + 1))
        box.append(slice(start, start + side))
    inside[tuple(box)] = True
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
    ) -> "StrongGeometry":
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
        """Flip the samples (B, C, *grid) or (B, *grid), and mix none; a second time makes up for the first."""
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
