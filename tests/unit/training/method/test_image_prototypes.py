"""Prototypes of the same image against a slow reference, and on images made so that the answer is known."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from nnunetv2_crln.modules.feature_taps import DecoderFeatures
from nnunetv2_crln.training.method import image_prototypes
from nnunetv2_crln.training.method.image_prototypes import image_prototype_map, region_prototype_map

CLASSES = 3
SIZE = {2: (24, 40), 3: (8, 12, 16)}


def discs(size, shift=0):
    """Class 2 inside of class 1 in the middle of an image, (*size)."""
    grid = torch.meshgrid(*[torch.arange(side) for side in size], indexing="ij")
    away = sum(((axis - (side - 1) / 2 - shift) / side).square() for axis, side in zip(grid, size, strict=True)).sqrt()
    return (away < 0.3).long() + (away < 0.17).long()


def logits_of(labels, sure=8.0):
    return sure * F.one_hot(labels, CLASSES).movedim(-1, 1).float()


def make_features(labels, noise, seed=0, channels=(5, 4, 3)):
    """Features that differ between the classes, at a quarter, half and the full resolution."""
    generator = torch.Generator().manual_seed(seed)
    one_hot = F.one_hot(labels, CLASSES).movedim(-1, 1).float()
    pool = F.avg_pool2d if labels.ndim == 3 else F.avg_pool3d
    found = []
    for factor, width in zip((4, 2, 1), channels, strict=True):
        coarse = pool(one_hot, factor) if factor > 1 else one_hot
        mixed = torch.einsum("wc,bc...->bw...", torch.randn(width, CLASSES, generator=generator), coarse)
        found.append(mixed + noise * torch.randn(mixed.shape, generator=generator))
    return DecoderFeatures(*found)


def reference(logits, features):
    """The same by loops over images and classes, with inverse and distances written out."""
    probabilities = torch.softmax(logits, 1).numpy()
    size = logits.shape[2:]
    result = np.zeros(logits.shape)
    mode = "bilinear" if len(size) == 2 else "trilinear"
    for image in range(len(logits)):
        labels, confidence = probabilities[image].argmax(0), probabilities[image].max(0)
        foreground = np.argwhere(labels > 0)
        judged = np.zeros(size, bool)
        for voxel in np.ndindex(*size):
            reach = [max(2, round(side / 20)) for side in size]
            judged[voxel] = len(foreground) > 0 and bool((np.abs(foreground - voxel) <= reach).all(1).any())
        nearest, linear = [], []
        for level in (features.quarter, features.half, features.full):
            index = np.ix_(*[np.arange(side) * own // side for side, own in zip(size, level.shape[2:], strict=True)])
            nearest.append(level[image].numpy()[(slice(None), *index)])
            linear.append(F.interpolate(level[image : image + 1], size, mode=mode)[0].numpy())
        nearest, linear = np.concatenate(nearest).astype(float), np.concatenate(linear).astype(float)
        chosen = {c: nearest[:, judged & (labels == c) & (confidence >= 0.95)].T for c in range(logits.shape[1])}
        chosen = {c: found for c, found in chosen.items() if len(found) >= 10}
        if len(chosen) < 2:
            continue
        everything = np.concatenate([*chosen.values()])
        centre, scale = everything.mean(0), everything.std(0) + 1e-3
        chosen = {c: (found - centre) / scale for c, found in chosen.items()}
        spread = np.mean([np.cov(found.T, bias=True) for found in chosen.values()], 0)
        inverse = np.linalg.inv(spread + 0.1 * np.eye(len(centre)))
        scores = np.full((logits.shape[1], judged.sum()), -np.inf)
        for number, voxel in enumerate(np.argwhere(judged)):
            own = (linear[(slice(None), *voxel)] - centre) / scale
            for c, found in chosen.items():
                away = own - found.mean(0)
                scores[c, number] = -away @ inverse @ away / 2
        sums = scores + np.log(probabilities[image][:, judged])
        lead = sums[1:].max(0) - sums[0]
        scores[0] += np.sort(lead)[::-1][(labels[judged] > 0).sum()]
        scores -= scores.max(0)
        with np.errstate(divide="ignore"):
            result[image][:, judged] = np.log(np.exp(scores) / np.exp(scores).sum(0)).clip(-30)
    return result


@pytest.mark.parametrize("ndim", [2, 3])
def test_map_equals_distances_to_the_means_of_the_same_image(ndim, monkeypatch):
    monkeypatch.setattr(image_prototypes, "SAMPLES", 2000)  # more than there are voxels
    labels = torch.stack([discs(SIZE[ndim]), discs(SIZE[ndim], shift=1)])
    logits = logits_of(labels) + 2 * torch.randn(2, CLASSES, *SIZE[ndim], generator=torch.Generator().manual_seed(1))
    features = make_features(labels, noise=1.0)
    np.testing.assert_allclose(image_prototype_map(logits, features), reference(logits, features), atol=2e-2, rtol=2e-3)


@pytest.mark.parametrize("ndim", [2, 3])
def test_wrong_pseudo_labels_are_put_right_where_the_features_show_it_without_more_foreground(ndim):
    truth = discs(SIZE[ndim])[None]
    predicted = torch.roll(truth, 1, -1)
    logits = logits_of(predicted, sure=4.0)
    rectified = logits + image_prototype_map(logits, make_features(truth, noise=0.05, channels=(1, 1, 6)))
    wrong, left = (predicted != truth).float().mean(), (rectified.argmax(1) != truth).float().mean()
    assert wrong > 0.02 and left < wrong / 4
    sizes = [(labels > 0).sum() for labels in (rectified.argmax(1), predicted)]
    assert abs(sizes[0] - sizes[1]) <= 2  # near-ties


def test_voxels_far_from_the_foreground_are_not_judged():
    labels = torch.zeros(1, 60, 60, dtype=torch.long)
    labels[:, 25:31, 25:31] = 1
    found = image_prototype_map(logits_of(labels), make_features(labels, noise=0.5))
    changed = found.abs().sum(1)[0] > 0
    inside = torch.zeros_like(changed)
    inside[22:34, 22:34] = True  # three voxels: a twentieth of the side
    assert torch.equal(changed, inside)


@pytest.mark.parametrize("foreground", [0, 9])
def test_image_without_two_classes_to_compare_is_left_alone(foreground):
    labels = torch.zeros(1, 20, 20, dtype=torch.long)
    labels.view(-1)[:foreground] = 1
    assert not image_prototype_map(logits_of(labels), make_features(labels, noise=1.0)).any()


def test_class_of_which_the_teacher_is_not_sure_keeps_its_voxels_possible():
    labels = discs((24, 40))[None]
    logits = logits_of(labels)
    logits[labels.unsqueeze(1).expand_as(logits) == 2] *= 0.1
    found = image_prototype_map(logits, make_features(labels, noise=1.0))
    judged = found.abs().sum(1) > 0
    assert (found[:, 2][judged] == image_prototypes.LOWEST).all()
    assert torch.isfinite(found).all()


def test_images_of_a_batch_are_judged_apart():
    labels = torch.stack([discs((24, 40)), discs((24, 40), shift=2)])
    logits, features = logits_of(labels), make_features(labels, noise=1.0)
    together = image_prototype_map(logits, features)
    for image in range(2):
        alone = image_prototype_map(logits[image : image + 1], features.map(lambda f, i=image: f[i : i + 1]))
        torch.testing.assert_close(alone[0], together[image], atol=1e-4, rtol=1e-4)


def test_region_is_judged_as_two_classes():
    labels = torch.stack([discs((24, 40)), discs((24, 40), shift=2)])
    features = make_features(labels, noise=1.0)
    regions = torch.stack([(labels > 0).float(), (labels > 1).float()], 1) * 16 - 8
    found = region_prototype_map(regions, features)
    for region in range(2):
        inside = regions[:, region]
        two = image_prototype_map(torch.stack([torch.zeros_like(inside), inside], 1), features)
        torch.testing.assert_close(found[:, region], two[:, 1] - two[:, 0])


def test_half_precision_features_give_the_same_map():
    labels = discs((24, 40))[None]
    logits, features = logits_of(labels), make_features(labels, noise=1.0).map(lambda f: f.half().float())
    full = image_prototype_map(logits, features)
    with torch.autocast("cpu", torch.bfloat16):
        half = image_prototype_map(logits.half(), features.map(lambda f: f.half()))
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, atol=1e-3, rtol=1e-3)
