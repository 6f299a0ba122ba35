"""Which cases a training draws unlabelled patches from, how many, and what its log says of it."""

from types import SimpleNamespace

import pytest
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.dataloading import streams as module
from nnunetv2_crln.training.dataloading.streams import Streams


@pytest.mark.parametrize("matching", [None, object()])
@pytest.mark.parametrize(("size", "cutmix", "said"), [(1, True, True), (2, True, False), (1, False, False)])
def test_the_log_says_so_if_single_patches_leave_nothing_to_mix(size, cutmix, said, matching):
    streams = Streams.__new__(Streams)
    streams.cases, streams.partly, streams.cutmix, streams.matching = None, None, cutmix, matching
    streams.labelled = SimpleNamespace(indices=["a", "b"], batch_size=2)
    streams.unlabelled = SimpleNamespace(loader=SimpleNamespace(batch_size=size))
    streams.num_cases = {"labelled": 2, "unlabelled": 5}
    expected = f"2 labelled and 5 unlabelled cases, 2 + {size} patches in a batch"
    expected += said * " (no CutMix: it needs two unlabelled patches)" + bool(matching) * ", histogram matching"
    assert streams.describe() == expected


@pytest.mark.parametrize(
    ("ignored_voxels", "has_ignore_label", "joined"), [(True, True, True), (False, True, False), (True, False, False)]
)
def test_ignored_voxels_of_labelled_cases_are_unlabelled_ones_if_wanted(ignored_voxels, has_ignore_label, joined):
    cases = SimpleNamespace(identifiers=["labelled"])
    loader = SimpleNamespace(transforms=ComposeTransforms([]), _data=cases, batch_size=2, indices=cases.identifiers)
    labels = SimpleNamespace(
        has_ignore_label=has_ignore_label, ignore_label=2, has_regions=False, num_segmentation_heads=2
    )
    unlabelled = SimpleNamespace(identifiers=["unlabelled"])
    settings, drawn_from = CRLNSettings(ignored_voxels=ignored_voxels), []
    Streams(loader, loader, unlabelled, labels, settings, lambda _, cases, *__: drawn_from.append(cases))
    assert drawn_from[0].identifiers == ["unlabelled", *(["labelled"] if joined else [])]


@pytest.mark.parametrize(("wanted", "processes", "own"), [(None, 2, 3), (4, 1, 4), (4, 2, 2)])
def test_processes_share_the_unlabelled_batch(monkeypatch, wanted, processes, own):
    monkeypatch.setattr(module, "number_of_processes", lambda: processes)
    assert module.unlabelled_batch_size(wanted, 3) == own


def test_every_process_has_two_unlabelled_patches_to_mix(monkeypatch):
    monkeypatch.setattr(module, "number_of_processes", lambda: 2)
    assert module.unlabelled_batch_size(None, 1) == 2  # nnU-Net has divided its usual batch of two
    assert module.unlabelled_batch_size(2, 1) == 1  # whoever asks for it gets a single one


def test_an_unlabelled_batch_that_cannot_be_shared_is_refused(monkeypatch):
    monkeypatch.setattr(module, "number_of_processes", lambda: 2)
    with pytest.raises(UserError, match=r'"unlabelled_batch_size" is 3, which 2 GPUs cannot share.*multiple of 2'):
        module.unlabelled_batch_size(3, 3)
