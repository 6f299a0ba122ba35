"""Weak and strong views: which changes they are."""

import pytest
import torch
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.rot90 import Rot90Transform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.spatial.transpose import TransposeAxesTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.nnunet_masking import MaskImageTransform
from batchgeneratorsv2.transforms.utils.pseudo2d import Convert2DTo3DTransform, Convert3DTo2DTransform
from hypothesis import strategies as st
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerDA5 import nnUNetTrainerDA5

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.training.dataloading.views import (
    mirror_axes,
    repeatable,
    require_cut,
    strong_intensity_transforms,
    weak_transforms,
)
from nnunetv2_crln.utilities.seeding import seed_everything

grids = st.integers(2, 3).flatmap(lambda ndim: st.tuples(*[st.integers(1, 7)] * ndim))


def training_transforms(patch_size=(8, 8, 8), mirror_axes=(0, 1, 2), dummy_2d=False, mask=False):
    """nnU-Net's own, as its trainer builds them."""
    return nnUNetTrainer.get_training_transforms(
        patch_size, (-0.5, 0.5), [[1, 1, 1], [0.5, 0.5, 0.5]], mirror_axes, dummy_2d, [mask]
    )


# ------------------------------------------------------------------ weak


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [SpatialTransform, MirrorTransform]),
        ({"mirror_axes": ()}, [SpatialTransform]),
        ({"patch_size": (8, 8), "mirror_axes": (0, 1)}, [SpatialTransform, MirrorTransform]),
        (
            {"dummy_2d": True},
            [Convert3DTo2DTransform, SpatialTransform, Convert2DTo3DTransform, MirrorTransform],
        ),
        ({"mask": True}, [SpatialTransform, MirrorTransform, MaskImageTransform]),
    ],
    ids=["default", "no mirroring", "2d", "dummy 2d", "masked"],
)
def test_weak_view_is_the_geometric_part_of_nnunets_augmentation(options, expected):
    assert [type(t) for t in weak_transforms(training_transforms(**options)).transforms] == expected


def test_weak_view_finds_changes_that_are_made_now_and_then_or_lie_inside_of_others():
    """As in nnU-Net's nnUNetTrainerDA5, and in trainers that add to what nnU-Net returns."""
    options = ((8, 8, 8), (-0.5, 0.5), None, (0, 1, 2), False)
    weak = weak_transforms(ComposeTransforms([nnUNetTrainerDA5.get_training_transforms(*options)])).transforms
    found = [type(getattr(t, "transform", t)) for t in weak]
    assert found == [SpatialTransform, Rot90Transform, TransposeAxesTransform, MirrorTransform]
    assert [getattr(t, "apply_probability", 1) for t in weak] == [1, 0.5, 0.5, 1]
    assert mirror_axes(ComposeTransforms([training_transforms(mirror_axes=(0, 2))])) == (0, 2)
    assert mirror_axes(training_transforms(mirror_axes=())) == ()


def test_a_weak_view_that_cuts_no_patches_is_refused():
    """The trainer's augmentation cuts with a transform that is not nnU-Net's."""
    require_cut(weak_transforms(training_transforms()), (12, 12, 12), (8, 8, 8))
    require_cut(ComposeTransforms([]), (8, 8), (8, 8))
    with pytest.raises(UserError, match=r"\(12, 12, 12\) voxels are not cut to \(8, 8, 8\).*get_training_transforms"):
        require_cut(ComposeTransforms([]), (12, 12, 12), (8, 8, 8))


def test_weak_view_makes_no_new_intensities():
    """An image of one value stays one, whatever the seed; noise, brightness or contrast would change it."""
    weak = weak_transforms(training_transforms())
    image, mask = torch.full((1, 12, 12, 12), 3.0), torch.zeros(1, 12, 12, 12, dtype=torch.int16)
    for seed in range(20):
        seed_everything(seed)
        view = weak(image=image.clone(), segmentation=mask.clone())["image"]
        assert view.shape == (1, 8, 8, 8)
        centre = view[:, 3:5, 3:5, 3:5]  # never rotated out of the image
        torch.testing.assert_close(centre, torch.full_like(centre, 3.0))


# ------------------------------------------------------------------ strong intensities


@pytest.mark.parametrize("shape", [(2, 8, 8, 8), (1, 8, 8)])
def test_strong_intensities_change_values_and_neither_shape_nor_place(shape):
    """A bright half stays where it is: no geometric change hides among the intensity changes."""
    intensity = strong_intensity_transforms(training_transforms())
    image = torch.zeros(shape)
    image[..., 4:] = 4.0
    changed = 0
    for seed in range(30):
        seed_everything(seed)
        strong = intensity(image=image.clone())["image"]
        assert strong.shape == image.shape and strong.dtype == image.dtype
        assert torch.isfinite(strong).all()
        assert strong[..., 5:].mean() > strong[..., :3].mean()
        changed += not torch.equal(strong, image)
    assert changed >= 20


def test_the_articles_strong_view_is_noise_alone():
    image = torch.zeros(1, 32, 32, 32)
    noisy = strong_intensity_transforms(training_transforms(), "noise")(image=image.clone())["image"]
    assert abs(noisy.mean().item()) < 0.005
    assert noisy.std().item() == pytest.approx(0.1, rel=0.05)
    same = strong_intensity_transforms(training_transforms(), "none")(image=image.clone())["image"]
    assert torch.equal(same, image)


def low_resolution(transforms):
    return next(t.transform for t in transforms.transforms if isinstance(t.transform, SimulateLowResolutionTransform))


@pytest.mark.parametrize(("options", "axes"), [({}, None), ({"dummy_2d": True}, (0,))], ids=["3d", "dummy 2d"])
def test_thick_slices_keep_their_resolution_as_in_labelled_patches(options, axes):
    assert low_resolution(strong_intensity_transforms(training_transforms(**options))).ignore_axes == axes


def test_blur_is_not_chosen_by_timing():
    blurs = [
        t.transform
        for t in repeatable(training_transforms()).transforms
        if isinstance(getattr(t, "transform", None), GaussianBlurTransform)
    ]
    assert blurs and not any(blur.benchmark for blur in blurs)
