"""Make the weak view of unlabelled patches, and the intensity changes of the strong one."""

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
