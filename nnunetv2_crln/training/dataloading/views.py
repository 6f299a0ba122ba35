"""Make the weak view of unlabelled patches, and the intensity changes of the strong one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
from batchgeneratorsv2.transforms.spatial.transpose import TransposeAxesTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.nnunet_masking import MaskImageTransform
from batchgeneratorsv2.transforms.utils.pseudo2d import Convert2DTo3DTransform, Convert3DTo2DTransform
from batchgeneratorsv2.transforms.utils.random import RandomTransform

from nnunetv2_crln.errors import UserError

_GEOMETRIC = (
    SpatialTransform,
    MirrorTransform,
    Rot90Transform,
    TransposeAxesTransform,
    Convert3DTo2DTransform,
    Convert2DTo3DTransform,
    MaskImageTransform,
)


def steps_of(transforms: BasicTransform) -> Iterator[tuple[BasicTransform, BasicTransform]]:
    """List the steps of an augmentation in their order, those of an augmentation inside of it as well.

    Args:
        transforms: Transforms of the labelled patches.

    Yields:
        Each step, and what it does: the same, or what it does with some probability.
    """
    for step in getattr(transforms, "transforms", [transforms]):
        if hasattr(step, "transforms"):
            yield from steps_of(step)
        else:
            yield step, getattr(step, "transform", step)


def weak_transforms(training_transforms: BasicTransform) -> ComposeTransforms:
    """Select the geometric part of nnU-Net's augmentation for labelled patches: the teacher's view."""
    return ComposeTransforms([step for step, does in steps_of(training_transforms) if isinstance(does, _GEOMETRIC)])


def require_cut(weak: ComposeTransforms, drawn: Sequence[int], size: Sequence[int]) -> None:
    """Check that the weak view cuts the patches to their size, as one of nnU-Net's transforms does.

    Args:
        weak: Transforms of the weak view.
        drawn: Size of the patches as they are loaded; larger, so that rotations find no empty corners.
        size: Size of the patches for the network.

    Raises:
        UserError: None of the transforms does, because the trainer's augmentation has one of its own.
    """
    cuts = any(isinstance(does, SpatialTransform) for _, does in steps_of(weak))
    if not cuts and any(a != b for a, b in zip(drawn, size, strict=True)):
        raise UserError(
            f"Unlabelled patches of {tuple(map(int, drawn))} voxels are not cut to {tuple(map(int, size))}: of "
            "get_training_transforms they get the geometric transforms alone, as far as their classes are nnU-Net's, "
            "and found no SpatialTransform. Let the transform of your trainer that cuts patches derive from it."
        )


def mirror_axes(training_transforms: BasicTransform) -> tuple[int, ...]:
    """Return the axes along which the labelled patches are mirrored."""
    axes = (does.allowed_axes for _, does in steps_of(training_transforms) if isinstance(does, MirrorTransform))
    return tuple(next(axes, ()))


def repeatable(transforms: BasicTransform) -> BasicTransform:
    """Stop nnU-Net's blur from choosing an implementation by timing, because the two differ in the last bits."""
    for _, does in steps_of(transforms):
        if isinstance(does, GaussianBlurTransform):
            does.benchmark = False
    return transforms


@dataclass(frozen=True)
class Strength:
    """Strength of the strong view's intensity changes, and how often they are applied.

    Attributes:
        factors: Range of the factors of brightness and contrast.
        factors_probability: Probability of each of the two.
        preserve_range: Contrast keeps the range of values.
        blur: Range of the standard deviations of the blur, in voxels.
        blur_probability: Probability of the blur.
        blurred_channels: Probability of each channel to be blurred then.
        gamma: Range of the exponents.
        gamma_probability: Probability of the exponents.
        retain_stats: Exponents keep mean and standard deviation.
    """

    factors: tuple[float, float]
    factors_probability: float
    preserve_range: bool
    blur: tuple[float, float]
    blur_probability: float
    blurred_channels: float
    gamma: tuple[float, float]
    gamma_probability: float
    retain_stats: bool


STRENGTHS = {
    "nnunet": Strength((0.75, 1.25), 0.5, True, (0.5, 1.0), 0.2, 0.5, (0.7, 1.5), 0.4, True),
    "wide": Strength((0.5, 1.5), 0.8, False, (0.5, 1.5), 0.4, 1.0, (0.5, 2.0), 0.6, False),
}
"""Intensity changes by the setting ``strong_intensity``: those of nnU-Net, and wider ones."""


def strong_intensity_transforms(training_transforms: BasicTransform, kind: str = "nnunet") -> ComposeTransforms:
    """Build the intensity changes of the strong view, which the student sees and the teacher does not.

    Args:
        training_transforms: Transforms of the labelled patches; axes with thick slices keep their resolution as there.
        kind: ``"nnunet"`` for nnU-Net's changes at the same strengths but applied more often, ``"wide"`` for twice as
            strong ones, ``"noise"`` for Gaussian noise alone as in the paper, or ``"none"``.

    Returns:
        Transforms of an image.
    """
    if kind == "none":
        return ComposeTransforms([])
    if kind == "noise":
        # 0.1 standard deviations of the (z-scored) image, as is usual for mean teachers in the field.
        return ComposeTransforms([GaussianNoiseTransform(noise_variance=0.1, p_per_channel=1)])
    lower = (does for _, does in steps_of(training_transforms) if isinstance(does, SimulateLowResolutionTransform))
    ignored_axes = next((does.ignore_axes for does in lower), None)
    strength = STRENGTHS[kind]

    def often(transform: BasicTransform, probability: float) -> RandomTransform:
        return RandomTransform(transform, apply_probability=probability)

    return ComposeTransforms(
        [
            often(GaussianNoiseTransform(noise_variance=(0, 0.1), p_per_channel=1, synchronize_channels=True), 0.5),
            often(
                GaussianBlurTransform(
                    blur_sigma=strength.blur,
                    synchronize_channels=False,
                    synchronize_axes=False,
                    p_per_channel=strength.blurred_channels,
                ),
                strength.blur_probability,
            ),
            often(
                MultiplicativeBrightnessTransform(
                    multiplier_range=BGContrast(strength.factors), synchronize_channels=False, p_per_channel=1
                ),
                strength.factors_probability,
            ),
            often(
                ContrastTransform(
                    contrast_range=BGContrast(strength.factors),
                    preserve_range=strength.preserve_range,
                    synchronize_channels=False,
                    p_per_channel=1,
                ),
                strength.factors_probability,
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
                    gamma=BGContrast(strength.gamma),
                    p_invert_image=0.25,
                    synchronize_channels=False,
                    p_per_channel=1,
                    p_retain_stats=int(strength.retain_stats),
                ),
                strength.gamma_probability,
            ),
        ]
    )
