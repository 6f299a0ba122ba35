"""True labels inside of unlabelled patches."""

import pytest
import torch

from nnunetv2_crln.training.method.known_labels import true_labels, with_known_labels
from nnunetv2_crln.training.method.pseudo_labels import PseudoLabels


def test_true_labels_replace_pseudo_labels_and_are_certain():
    pseudo = PseudoLabels(torch.tensor([[1, 1, 2]]), torch.tensor([[0.5, 0.6, 0.7]]))
    known = torch.tensor([[-1, 0, 2]], dtype=torch.int16)
    mixed = with_known_labels(pseudo, known)
    assert mixed.labels.tolist() == [[1, 0, 2]] and mixed.labels.dtype == torch.int64
    torch.testing.assert_close(mixed.confidence, torch.tensor([[0.5, 1.0, 1.0]]))


def test_known_voxels_are_fully_trusted():
    pseudo = PseudoLabels(torch.tensor([[1, 1]]), torch.tensor([[0.5, 0.5]]), trust=torch.tensor([[0.2, 0.2]]))
    mixed = with_known_labels(pseudo, torch.tensor([[-1, 1]]))
    torch.testing.assert_close(mixed.trust, torch.tensor([[0.2, 1.0]]))


def test_without_known_labels_nothing_changes():
    pseudo = PseudoLabels(torch.tensor([[1]]), torch.tensor([[0.5]]))
    assert with_known_labels(pseudo, None) is pseudo


def test_known_values_belong_to_their_regions_without_a_copy_from_the_host(monkeypatch):
    pseudo = PseudoLabels(torch.zeros(1, 2, 4, dtype=torch.int64), torch.full((1, 2, 4), 0.5))
    known = torch.tensor([[-1, 1, 2, 3]])
    monkeypatch.setattr(torch, "tensor", lambda *_, **__: pytest.fail("copied from the host in every step"))
    mixed = with_known_labels(pseudo, known, regions=((1, 2), (2,)))
    assert mixed.labels.tolist() == [[[0, 1, 1, 0], [0, 0, 1, 0]]]
    assert mixed.confidence[0].tolist() == [[0.5, 1, 1, 1]] * 2


def test_the_labels_of_labelled_patches_are_certain_but_for_ignored_voxels():
    target = torch.tensor([[[0, 1, 2, 3]]], dtype=torch.int16)
    for found in (true_labels(target, 3), true_labels([target, target[..., :2]], 3)):
        assert found.labels.tolist() == [[0, 1, 2, 0]] and found.confidence.tolist() == [[1, 1, 1, 0]]
    masks = torch.tensor([[[1, 1, 0], [0, 1, 0], [0, 0, 1]]], dtype=torch.bool)  # two regions, ignored voxels
    found = true_labels(masks, 2, regions=((1, 2), (2,)))
    assert found.labels.tolist() == [[[1, 1, 0], [0, 1, 0]]] and found.confidence.tolist() == [[[1, 1, 0]] * 2]
