"""The unlabelled stream: both views of its patches, and what is known of them."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.dataloading.batches import SeededBatches, UnlabelledBatches
from nnunetv2_crln.training.dataloading.histogram_matching import HistogramMatching
from nnunetv2_crln.training.dataloading.joined_cases import JoinedCases
from nnunetv2_crln.training.dataloading.refreshed_cases import REMOVED, RefreshedCases
from nnunetv2_crln.training.dataloading.unlabelled_dataset import UnlabelledDataset
from nnunetv2_crln.training.whole_volume_refresh.schedule import RefreshInForce, RefreshSchedule
from nnunetv2_crln.training.whole_volume_refresh.store import Decision, RefreshFindings, RefreshStore
from nnunetv2_crln.utilities.seeding import seed_everything

LABELLED_VOXEL = 1000.0
LABELS = SimpleNamespace(all_labels=[0, 1], has_ignore_label=True)


def write_cases(folder, names: list[str], shape=(10, 12, 14), channels: int = 2) -> None:
    rng = np.random.default_rng(0)
    for name in names:
        data = rng.normal(size=(channels, *shape)).astype(np.float32)
        mask = np.zeros((1, *shape), dtype=np.int8)
        mask[:, :, :6] = -1  # as nnU-Net marks what lies outside of the non-zero region
        sizes = {"chunks": data.shape, "blocks": data.shape, "chunks_seg": mask.shape, "blocks_seg": mask.shape}
        # Our preprocessing writes no class locations.
        nnUNetDatasetBlosc2.save_case(data, mask, {"spacing": [1, 1, 1]}, str(folder / name), **sizes)


@pytest.fixture(scope="module")
def case_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unlabelled")
    write_cases(folder, ["a", "b", "c"])
    return folder


def unlabelled_batches(folder, patch_size=(8, 8, 8), batch_size: int = 3, matching=None, **block) -> UnlabelledBatches:
    mirror_axes = block.pop("mirror_axes", tuple(range(len(patch_size))))
    use_mask = [block.pop("use_mask", False)] * 2
    scales = [[1.0] * len(patch_size), [0.5] * len(patch_size)]
    transforms = nnUNetTrainer.get_training_transforms(patch_size, (-0.5, 0.5), scales, mirror_axes, False, use_mask)
    initial = [p + 2 for p in patch_size]
    labelled = nnUNetDataLoader(
        nnUNetDatasetBlosc2(str(folder)), 2, initial, patch_size, LABELS, 0.33, transforms=transforms
    )
    cases, settings = UnlabelledDataset(str(folder)), CRLNSettings(**block)
    return UnlabelledBatches(labelled, cases, batch_size, LABELS, settings, matching=matching)


def test_known_labels_of_partly_labelled_cases_follow_their_image(tmp_path):
    """The image of the labelled case is its label, 10 where it is ignored: both must turn and flip alike."""
    (tmp_path / "unlabelled").mkdir()
    write_cases(tmp_path / "unlabelled", ["a"])
    label = np.zeros((1, 12, 12, 12), dtype=np.int16)
    label[:, :6] = 1
    label[:, 9:] = 2
    image = np.where(label == 2, 10, label).astype(np.float32)
    sizes = {"chunks": image.shape, "blocks": image.shape, "chunks_seg": label.shape, "blocks_seg": label.shape}
    (tmp_path / "labelled").mkdir()
    nnUNetDatasetBlosc2.save_case(image, label, {"class_locations": {}}, str(tmp_path / "labelled" / "b"), **sizes)
    labelled = nnUNetDatasetBlosc2(str(tmp_path / "labelled"))
    joined = JoinedCases(UnlabelledDataset(str(tmp_path / "unlabelled")), labelled, ignore_label=2)
    assert joined.identifiers == ["a", "b"]
    only_labelled = JoinedCases(SimpleNamespace(identifiers=[]), labelled, ignore_label=2)
    transforms = nnUNetTrainer.get_training_transforms((8, 8, 8), (-0.5, 0.5), None, (0, 1, 2), False)
    loader = nnUNetDataLoader(labelled, 2, (10, 10, 10), (8, 8, 8), LABELS, 0.0, transforms=transforms)
    batch = drawn(UnlabelledBatches(loader, only_labelled, 8, LABELS, CRLNSettings()))
    known, weak = batch["unlabelled_known"], batch["unlabelled_weak"][:, 0]
    assert known.shape == weak.shape
    assert set(known.unique().tolist()) == {-1, 0, 1}
    # Interpolation blurs the image at borders, where the nearest label may differ.
    agree = (weak - known).abs()[known >= 0] < 0.5
    assert agree.float().mean() > 0.9
    assert (weak[known == 1].mean() > 0.8) and (weak[known == 0].mean().abs() < 0.6)


def test_nothing_is_known_of_unlabelled_cases(case_folder):
    labelled = SimpleNamespace(identifiers=["z"])
    joined = JoinedCases(UnlabelledDataset(str(case_folder)), labelled, ignore_label=2)
    target = torch.zeros(2, 1, 4, 4)
    target[1, 0, 0] = 2
    known = joined.known_labels(target, np.array(["a", "z"]))["unlabelled_known"]
    assert (known[0] == -1).all()
    assert (known[1, 0] == -1).all() and (known[1, 1:] == 0).all()


def drawn(batches: UnlabelledBatches, seed: int = 0) -> dict:
    seed_everything(seed)
    labelled = torch.full((2, 2, *batches.loader.final_patch_size), LABELLED_VOXEL)
    return batches.draw(np.random.default_rng(seed), labelled)


@pytest.mark.parametrize("patch_size", [(8, 8, 8), (8, 8), (6, 16, 20)])
def test_a_batch_has_the_labelled_patch_size_and_its_own_batch_size(case_folder, patch_size):
    """A dataset with an ignore label too, and patches larger than the image."""
    batch = drawn(unlabelled_batches(case_folder, patch_size))
    ndim = len(patch_size)
    shapes = {name: tuple(tensor.shape) for name, tensor in batch.items()}
    assert shapes == {
        "unlabelled_keys": (3,),
        "unlabelled_weak": (3, 2, *patch_size),
        "unlabelled_strong": (3, 2, *patch_size),
        "boxes": (3, *patch_size),
        "flips": (3, ndim),
        "pasted": (3,),
    }
    assert batch["boxes"].dtype == batch["flips"].dtype == torch.bool


def test_histogram_matching_changes_the_students_patches_and_not_the_teachers(case_folder):
    """Labelled patches and strong views; labels, weak views and the geometry of the views stay as they are."""
    matching = HistogramMatching(UnlabelledDataset(str(case_folder)), [0, 1], [False, False], probability=1.0)
    matching.change = lambda images, source, cases, rng: images.add_(100)
    plain, matched = (unlabelled_batches(case_folder, strong_intensity="none", matching=m) for m in (None, matching))
    expected, found = drawn(plain), drawn(matched)
    assert torch.equal(found["unlabelled_weak"], expected["unlabelled_weak"])
    assert torch.equal(found["unlabelled_strong"], expected["unlabelled_strong"] + 100)
    assert torch.equal(found["boxes"], expected["boxes"]) and torch.equal(found["flips"], expected["flips"])

    def labelled(matching):
        return next(SeededBatches(_GoodLabels(), None, 0, "train", 0, 0, matching=matching))

    before, after = labelled(None), labelled(matching)
    assert torch.equal(after["data"], before["data"] + 100) and torch.equal(after["target"], before["target"])


def test_the_strong_view_is_the_weak_one_after_intensity_changes_and_the_given_geometry(case_folder):
    """So the teacher's pseudo labels of the weak view, moved by the same geometry, lie on the strong one."""
    batches = unlabelled_batches(case_folder)
    weak = drawn(batches)["unlabelled_weak"]
    batches.intensity = ComposeTransforms([])
    batch = drawn(batches)
    # The intensity changes left the weak view alone.
    assert torch.equal(batch["unlabelled_weak"], weak)
    mixed = torch.where(batch["boxes"][:, None], weak.roll(-1, 0), weak)
    for sample, strong, flips in zip(mixed, batch["unlabelled_strong"], batch["flips"].tolist(), strict=True):
        axes = [1 + axis for axis, flip in enumerate(flips) if flip]
        assert torch.equal(strong, sample.flip(axes) if axes else sample)
    assert batch["boxes"].flatten(1).any(1).all()


def test_no_noise_is_added_outside_of_the_mask(case_folder):
    """Labelled patches are zero there, so both views of the unlabelled ones must be."""
    batches = unlabelled_batches(case_folder, use_mask=True, cutmix_probability=0.0, strong_flip=False)
    for seed in range(6):
        batch = drawn(batches, seed)
        assert (batch["unlabelled_weak"] == 0).any()
        assert torch.equal(batch["unlabelled_weak"] == 0, batch["unlabelled_strong"] == 0)
    assert not torch.equal(batch["unlabelled_weak"], batch["unlabelled_strong"])


def test_images_that_nnunet_does_not_mask_are_not_masked(case_folder):
    assert unlabelled_batches(case_folder).masking.transforms == []


def test_weak_patches_are_cut_out_of_the_images(case_folder):
    """Before any transform, zeros around the image included."""
    batches = unlabelled_batches(case_folder, batch_size=6)
    batches.loader.transforms = None
    images = [np.asarray(UnlabelledDataset(str(case_folder)).load_case(name)[0][:]) for name in "abc"]
    found = set()
    for patch in drawn(batches)["unlabelled_weak"].numpy():
        (number,) = [i for i, image in enumerate(images) if patch[0, 5, 5, 5] in image[0]]
        found.add(number)
        padded = np.pad(images[number], [(0, 0), *[(10, 10)] * 3])
        centre = np.argwhere(padded[0] == patch[0, 5, 5, 5])[0]
        cut = tuple(slice(c - 5, c + 5) for c in centre)
        np.testing.assert_array_equal(patch, padded[(slice(None), *cut)])
    assert len(found) > 1


def test_draws_are_reproducible_and_differ(case_folder):
    batches = unlabelled_batches(case_folder)
    first, again, other = drawn(batches, 1), drawn(batches, 1), drawn(batches, 2)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["unlabelled_weak"], other["unlabelled_weak"])


@pytest.mark.parametrize(
    ("mirror_axes", "strong_flip", "flip_axes"),
    [((0, 1, 2), True, (0, 1, 2)), ((1,), True, (1,)), ((), True, ()), ((0, 1, 2), False, ())],
)
def test_the_strong_view_is_flipped_along_the_axes_that_nnunet_mirrors(
    case_folder, mirror_axes, strong_flip, flip_axes
):
    """A plan without left-right mirroring stays without it."""
    batches = unlabelled_batches(case_folder, mirror_axes=mirror_axes, strong_flip=strong_flip)
    assert batches.flip_axes == flip_axes
    flipped = torch.stack([drawn(batches, seed)["flips"].any(0) for seed in range(8)]).any(0)
    assert flipped.tolist() == [axis in flip_axes for axis in range(3)]


def test_cutmix_follows_the_settings(case_folder):
    assert not drawn(unlabelled_batches(case_folder, cutmix_probability=0.0))["boxes"].any()
    assert not drawn(unlabelled_batches(case_folder, batch_size=1))["boxes"].any()


def test_without_any_change_both_views_are_the_same(case_folder):
    batches = unlabelled_batches(case_folder, strong_intensity="none", cutmix_probability=0.0, strong_flip=False)
    for seed in range(4):
        batch = drawn(batches, seed)
        assert torch.equal(batch["unlabelled_weak"], batch["unlabelled_strong"])


def test_boxes_vary_as_little_as_the_settings_say(case_folder):
    """Beta(alpha, alpha) of a huge alpha is always a half: sides of 8 * 0.5 ** (1 / 3) voxels."""

    def sizes(alpha: float) -> list[int]:
        batches = unlabelled_batches(case_folder, batch_size=6, cutmix_alpha=alpha)
        return drawn(batches)["boxes"].flatten(1).sum(1).tolist()

    assert sizes(1e6) == [6**3] * 6
    assert len(set(sizes(4.0))) > 1


def test_copy_paste_puts_labelled_voxels_into_the_strong_view_alone(case_folder):
    batch = drawn(unlabelled_batches(case_folder, copy_paste_probability=1.0, strong_flip=False))
    assert batch["pasted"].all()
    assert torch.equal(batch["unlabelled_strong"][:, 0] == LABELLED_VOXEL, batch["boxes"])
    assert not (batch["unlabelled_weak"] == LABELLED_VOXEL).any()


def test_labels_of_unlabelled_cases_are_not_looked_for(case_folder):
    """Foreground is never sampled: there are no class locations to sample from."""
    properties = UnlabelledDataset(str(case_folder)).load_case("a")[3]
    assert properties == {"spacing": [1, 1, 1], "class_locations": {}}
    assert unlabelled_batches(case_folder).loader.oversample_foreground_percent == 0


# ------------------------------------------------------------------ whole-volume refresh

PLACE = (0, 2, 3, 4)
FALSE_COMPONENT = np.argwhere(np.ones((10, 12, 3)))  # a slab of each case


@pytest.fixture
def refreshed(case_folder, tmp_path):
    """Return a function that makes batches of a step; a refresh after epoch 0 of two steps found one voxel per case."""
    store = RefreshStore(tmp_path)
    store.begin(0, "weights")
    for case in "abc":
        store.write(0, case, RefreshFindings({1: np.array([PLACE], np.int32)}, FALSE_COMPONENT.astype(np.int32)))
    store.decide(0, Decision(refreshed=True))

    def build(step: int, joined: bool = False, **options) -> UnlabelledBatches:
        refresh = RefreshInForce(store, RefreshSchedule(1, 2, 2))
        refresh.at(step, may_wait=False)
        batches = unlabelled_batches(case_folder, **options)
        batches.refresh = refresh
        cases = RefreshedCases(UnlabelledDataset(str(case_folder)), refresh)
        batches.joined = JoinedCases(cases, SimpleNamespace(identifiers=[]), 2) if joined else None
        batches.loader._data = batches.joined or cases
        return batches

    return build


def holds(batch: dict, folder) -> list[bool]:
    """Whether each patch, before any transform, holds the voxel at PLACE of its case."""
    images = {name: UnlabelledDataset(str(folder)).load_case(name)[0][:] for name in "abc"}
    pairs = zip(batch["unlabelled_weak"].numpy(), batch["unlabelled_keys"], strict=True)
    return [images[case][PLACE] in patch[0] for patch, case in pairs]


def test_after_a_refresh_foreground_is_oversampled_as_in_labelled_patches(refreshed, case_folder):
    shares = {}
    for step in (1, 2):
        batches = refreshed(step, patch_size=(3, 3, 3), batch_size=6)
        batches.loader.transforms = None
        drawn_patches = np.array([holds(drawn(batches, seed), case_folder) for seed in range(20)])
        shares[step] = drawn_patches.mean(0)
    # nnU-Net takes the last third of a batch for it: 2 of 6 patches.
    assert (shares[2][4:] == 1).all() and (shares[2][:4] < 0.7).all()
    assert (shares[1] < 0.7).all()


def test_what_was_found_in_a_replaced_scan_does_not_count(refreshed, case_folder, monkeypatch):
    read = RefreshStore.read
    monkeypatch.setattr(
        RefreshStore, "read", lambda *arguments: dataclasses.replace(read(*arguments), source="another scan")
    )
    _, mask, _, properties = refreshed(2).loader._data.load_case("a")
    expected = UnlabelledDataset(str(case_folder)).load_case("a")
    assert properties["class_locations"] == {} and np.array_equal(mask[:], expected[1][:])


def test_before_the_first_refresh_batches_are_those_without_any(refreshed, case_folder):
    expected = drawn(unlabelled_batches(case_folder))
    before, after = drawn(refreshed(1)), drawn(refreshed(2))
    assert before.keys() == expected.keys()
    assert all(np.array_equal(before[name], expected[name]) for name in expected)
    assert not torch.equal(after["unlabelled_weak"], expected["unlabelled_weak"])


@pytest.mark.parametrize("joined", [False, True])
def test_removed_components_are_known_background_where_they_lie(refreshed, case_folder, joined):
    """The first three planes of the last axis, which the mask leaves to the unknown where it is -1."""
    batches = refreshed(2, joined, patch_size=(10, 12, 14), batch_size=2)
    cases = batches.joined or batches.loader._data
    mask = cases.load_case("a")[1]
    plain = UnlabelledDataset(str(case_folder)).load_case("a")[1][:]
    assert set(np.unique(mask)) == {-1, 0, REMOVED}
    assert np.array_equal(np.argwhere(mask == REMOVED), np.argwhere((plain == 0) & (np.arange(14) < 3)))
    batches.loader.transforms = None
    batch = drawn(batches)
    known = batch["unlabelled_known"]
    assert set(known.unique().tolist()) == {-1, 0}
    images = {name: UnlabelledDataset(str(case_folder)).load_case(name)[0][:] for name in "abc"}
    for patch, case, where in zip(
        batch["unlabelled_weak"].numpy(), batch["unlabelled_keys"], known.numpy(), strict=True
    ):
        assert set(patch[0][where == 0]) == set(images[case][0, :, 6:, :3].ravel()) & set(patch[0].ravel())


@pytest.mark.parametrize("highest", [1, 2])
def test_values_without_a_class_are_refused_in_the_unlabelled_part_too(tmp_path, highest):
    """A partly labelled case may meet this part first, and on a GPU its loss ends with a nameless assertion."""
    (tmp_path / "labelled").mkdir()
    image, label = np.zeros((1, 12, 12, 12), np.float32), np.full((1, 12, 12, 12), 2, np.int16)
    sizes = {"chunks": image.shape, "blocks": image.shape, "chunks_seg": label.shape, "blocks_seg": label.shape}
    nnUNetDatasetBlosc2.save_case(image, label, {"class_locations": {}}, str(tmp_path / "labelled" / "b"), **sizes)
    labelled = nnUNetDatasetBlosc2(str(tmp_path / "labelled"))
    joined = JoinedCases(SimpleNamespace(identifiers=[]), labelled, ignore_label=3)
    transforms = nnUNetTrainer.get_training_transforms((8, 8, 8), 0, None, (0, 1, 2), False)
    loader = nnUNetDataLoader(labelled, 1, (8, 8, 8), (8, 8, 8), LABELS, 0.0, transforms=transforms)
    unlabelled = UnlabelledBatches(loader, joined, 1, LABELS, CRLNSettings())
    batches = SeededBatches(_GoodLabels(), unlabelled, 0, "train", 0, 0, highest_label=highest)
    if highest == 2:
        assert (batches._batch()["unlabelled_known"] == 2).all()
    else:
        with pytest.raises(UserError, match=r"preprocessed labels of b hold the value\(s\) 2, expected 0 to 1"):
            batches._batch()


class _GoodLabels:
    """Loader whose labelled patches are background."""

    _data = None

    def __next__(self) -> dict:
        return {"data": torch.zeros(1, 1, 8, 8, 8), "target": torch.zeros(1, 1, 8, 8, 8), "keys": ["a"]}
