"""Histogram matching: what it does to intensities, and which patches, channels and voxels it leaves alone."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.exposure import match_histograms

from nnunetv2_crln.layout import CASE_LANDMARKS
from nnunetv2_crln.preprocessed_dataset.landmarks import landmarks_of, landmarks_of_case
from nnunetv2_crln.training.dataloading.histogram_matching import HistogramMatching, channels_to_match, matched

RNG = np.random.default_rng(0)
DARK = RNG.normal(-1, 0.5, (20, 20, 20)).astype(np.float32)
BRIGHT = RNG.gamma(2, 1, (20, 20, 20)).astype(np.float32)


class Scans:
    """Scans in memory that count how often each is read; their mask is 0 inside, -1 in the first two slices."""

    def __init__(self, properties=None, **scans):
        self.scans, self.identifiers, self.reads = scans, list(scans), []
        self.properties = properties or {}

    def load_case(self, name):
        self.reads.append(name)
        data = self.scans[name]
        mask = np.zeros((1, *data.shape[1:]), np.int8)
        mask[:, :2] = -1
        return data, mask, None, self.properties


def matching(scans, channels=(0,), masked=(False, False), probability=1.0):
    return HistogramMatching(scans, channels, masked, probability)


def test_the_intensities_are_those_that_scikit_image_finds():
    found = matched(DARK, landmarks_of(DARK), landmarks_of(BRIGHT))
    expected = match_histograms(DARK, BRIGHT)
    inner = (landmarks_of(DARK)[2] < DARK) & (landmarks_of(DARK)[-3] > DARK)  # beyond, landmarks are far apart
    assert found.dtype == np.float32
    assert np.abs(found - expected)[inner].max() < 0.1 < np.abs(DARK - expected)[inner].mean()


@given(arrays(np.float64, (50,), elements=st.floats(-3, 3)), arrays(np.float64, (50,), elements=st.floats(-3, 3)))
def test_brighter_voxels_stay_brighter(own, other):
    values = np.linspace(-6, 6, 200)
    assert (np.diff(matched(values, landmarks_of(own), landmarks_of(other))) >= -1e-6).all()


def test_matching_a_scan_with_itself_changes_little():
    assert np.abs(matched(DARK, landmarks_of(DARK), landmarks_of(DARK)) - DARK).max() < 0.01


def test_a_constant_background_gets_one_value():
    half = np.where(np.arange(1000) < 500, -0.5, np.linspace(0, 1, 1000))
    other = np.linspace(2, 4, 1000)
    found = matched(half, landmarks_of(half), landmarks_of(other))
    assert np.unique(found[:500]).size == 1 and 2 < found[0] < 3 and found[-1] == pytest.approx(4, abs=0.01)


def test_channels_whose_intensities_have_a_meaning_are_left_alone():
    schemes = ["ZScoreNormalization", "CTNormalization", "NoNormalization", "RGBTo01Normalization", "MyNormalization"]
    assert channels_to_match(SimpleNamespace(normalization_schemes=schemes)) == [0]
    scans = Scans(a=np.stack([DARK, DARK]), b=np.stack([BRIGHT, BRIGHT]))
    images = torch.from_numpy(np.stack([DARK, DARK]))[None].clone()
    matching(Scans(b=scans.scans["b"])).change(images, scans, ["a"], np.random.default_rng(0))
    assert np.median(images[0, 0]) == pytest.approx(np.median(BRIGHT), abs=0.1)
    assert (images[0, 1].numpy() == DARK).all()


@pytest.mark.parametrize("masked", [True, False])
def test_what_nnunet_masks_stays_zero(masked):
    scans = Scans(a=DARK[None], b=BRIGHT[None])
    image = torch.from_numpy(DARK[None, None]).clone()
    image[:, :, :5] = 0
    matching(Scans(b=BRIGHT[None]), masked=[masked]).change(image, scans, ["a"], np.random.default_rng(0))
    assert bool((image[:, :, :5] == 0).all()) == masked and image[:, :, 5:].mean() > 1


def test_voxels_outside_of_the_nonzero_region_do_not_count():
    empty = DARK.copy()
    empty[:2] = 100  # where the mask is -1
    image = torch.from_numpy(DARK[None, None]).clone()
    matching(Scans(b=BRIGHT[None])).change(image, Scans(a=empty[None]), ["a"], np.random.default_rng(0))
    assert np.median(image) == pytest.approx(np.median(BRIGHT), abs=0.1)


def test_a_scan_without_a_nonzero_region_is_matched_by_all_voxels():
    flat = Scans(a=np.zeros((1, 2, 3, 4), np.float32))
    image = torch.zeros(1, 1, 2, 2, 2)
    matching(Scans(b=BRIGHT[None])).change(image, flat, ["a"], np.random.default_rng(0))
    assert image.isfinite().all()


def test_each_scan_is_read_once_and_a_share_of_the_patches_is_changed():
    source, scans = Scans(a=DARK[None]), Scans(b=BRIGHT[None], c=BRIGHT[None] + 1)
    half, rng = matching(scans, probability=0.5), np.random.default_rng(0)
    changed = 0
    for _ in range(200):
        images = torch.from_numpy(DARK[None, None, :4, :4, :4]).clone()
        half.change(images, source, ["a"], rng)
        changed += bool((images.numpy() != DARK[:4, :4, :4]).any())
    assert 70 < changed < 130
    assert source.reads == ["a"] and sorted(scans.reads) == ["b", "c"]


def test_landmarks_that_preprocessing_recorded_are_taken_unless_they_are_of_another_kind():
    recorded = landmarks_of_case(BRIGHT[None], np.zeros_like(BRIGHT)[None]) + 10
    for landmarks, shift in ((recorded, 10), (recorded[:, 1:], 0)):
        image = torch.from_numpy(DARK[None, None]).clone()
        scans = Scans({CASE_LANDMARKS: landmarks}, b=BRIGHT[None])
        matching(scans).change(image, Scans(a=DARK[None]), ["a"], np.random.default_rng(0))
        assert np.median(image) == pytest.approx(np.median(BRIGHT) + shift, abs=0.1)


@pytest.mark.parametrize(
    ("probability", "scheme", "names", "any_patch"),
    [
        (0.5, "ZScoreNormalization", ["b"], True),
        (0.0, "ZScoreNormalization", ["b"], False),
        (0.5, "CTNormalization", ["b"], False),
        (0.5, "ZScoreNormalization", [], False),
    ],
)
def test_there_is_none_where_no_patch_could_be_changed(probability, scheme, names, any_patch):
    configuration = SimpleNamespace(normalization_schemes=[scheme], use_mask_for_norm=[False])
    scans = SimpleNamespace(identifiers=names)
    assert (HistogramMatching.of_training(scans, configuration, probability) is not None) == any_patch
