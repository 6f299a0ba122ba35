"""True labels inside of unlabelled patches, and those of labelled patches as pseudo labels."""

import pytest
import torch

from nnunetv2_crln.training.method.class_labels import ClassLabels
from nnunetv2_crln.training.method.pseudo_labels import PseudoLabels
from nnunetv2_crln.training.method.region_labels import RegionLabels

OF_CLASSES, OF_REGIONS = ClassLabels(3), RegionLabels(((1, 2), (2,)))


def test_true_labels_replace_pseudo_labels_and_are_certain():
    pseudo = PseudoLabels(torch.tensor([[1, 1, 2]]), torch.tensor([[0.5, 0.6, 0.7]]))
    known = torch.tensor([[-1, 0, 2]], dtype=torch.int16)
    mixed = OF_CLASSES.with_known(pseudo, known)
    assert mixed.labels.tolist() == [[1, 0, 2]] and mixed.labels.dtype == torch.int64
    torch.testing.assert_close(mixed.confidence, torch.tensor([[0.5, 1.0, 1.0]]))


def test_known_voxels_are_fully_trusted():
    pseudo = PseudoLabels(torch.tensor([[1, 1]]), torch.tensor([[0.5, 0.5]]), trust=torch.tensor([[0.2, 0.2]]))
    mixed = OF_CLASSES.with_known(pseudo, torch.tensor([[-1, 1]]))
    torch.testing.assert_close(mixed.trust, torch.tensor([[0.2, 1.0]]))


@pytest.mark.parametrize("labels", [OF_CLASSES, OF_REGIONS])
def test_without_known_labels_nothing_changes(labels):
    pseudo = PseudoLabels(torch.tensor([[1]]), torch.tensor([[0.5]]))
    assert labels.with_known(pseudo, None) is pseudo


def test_known_values_belong_to_their_regions_without_a_copy_from_the_host(monkeypatch):
    pseudo = PseudoLabels(torch.zeros(1, 2, 4, dtype=torch.int64), torch.full((1, 2, 4), 0.5))
    known = torch.tensor([[-1, 1, 2, 3]])
    monkeypatch.setattr(torch, "tensor", lambda *_, **__: pytest.fail("copied from the host in every step"))
    mixed = OF_REGIONS.with_known(pseudo, known)
    assert mixed.labels.tolist() == [[[0, 1, 1, 0], [0, 0, 1, 0]]]
    assert mixed.confidence[0].tolist() == [[0.5, 1, 1, 1]] * 2


def test_the_labels_of_labelled_patches_are_certain_but_for_ignored_voxels():
    target = torch.tensor([[[0, 1, 2, 3]]], dtype=torch.int16)
    for found in (OF_CLASSES.of_target(target), OF_CLASSES.of_target([target, target[..., :2]])):
        assert found.labels.tolist() == [[0, 1, 2, 0]] and found.confidence.tolist() == [[1, 1, 1, 0]]
    masks = torch.tensor([[[1, 1, 0], [0, 1, 0], [0, 0, 1]]], dtype=torch.bool)  # two regions, ignored voxels
    for found in (OF_REGIONS.of_target(masks), OF_REGIONS.of_target([masks, masks[..., :2]])):
        assert found.labels.tolist() == [[[1, 1, 0], [0, 1, 0]]] and found.confidence.tolist() == [[[1, 1, 0]] * 2]
