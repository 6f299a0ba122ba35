import numpy as np
import pytest
import torch

from nnunetv2_crln.training.method.pseudo_labels import PseudoLabels
from nnunetv2_crln.training.method.strong_geometry import StrongGeometry

CLASSES, GRID = 3, (4, 4, 4)


def test_pseudo_labels_are_the_largest_probability_and_its_class():
    logits = torch.randn(2, CLASSES, *GRID)
    pseudo = PseudoLabels.from_logits(logits)
    for b, *voxel in np.ndindex(2, *GRID):
        logit = logits[(b, slice(None), *voxel)].double().numpy()
        assert pseudo.labels[(b, *voxel)] == logit.argmax()
        assert pseudo.confidence[(b, *voxel)].item() == pytest.approx((np.exp(logit) / np.exp(logit).sum()).max())


def test_confidence_has_full_precision_under_autocast():
    """In bfloat16 0.9485 would count as 0.95."""
    assert PseudoLabels.from_logits(torch.randn(1, 3, 4, 4).bfloat16()).confidence.dtype == torch.float32


def test_labels_and_confidence_take_on_the_geometry_together():
    geometry = StrongGeometry.draw(3, GRID, 4.0, 1.0, (0, 1, 2), np.random.default_rng(0))
    labels = torch.randint(0, CLASSES, (3, *GRID))
    moved = PseudoLabels(labels, labels / 10).warped_by(geometry)
    assert moved.labels.dtype == torch.int64
    assert torch.equal(moved.labels / 10, moved.confidence)
    assert not torch.equal(moved.labels, labels)


def test_voxels_copied_from_a_labelled_patch_carry_its_label_and_are_certain():
    geometry = StrongGeometry.draw(2, GRID, 4.0, 0.0, (), np.random.default_rng(0), copy_paste_probability=1.0)
    labels, confidence, trust = torch.randint(0, CLASSES, (2, *GRID)), torch.rand(2, *GRID), torch.rand(2, *GRID)
    pseudo = PseudoLabels(labels, confidence, trust)
    target = torch.randint(0, CLASSES + 1, (1, 1, *GRID)).short()  # with ignored voxels
    known = PseudoLabels.from_target(target, CLASSES)
    mixed = pseudo.warped_by(geometry, known)
    for b, *voxel in np.ndindex(2, *GRID):
        at = (b, *voxel)
        if not geometry.boxes[at]:
            expected = (labels[at], confidence[at], trust[at])
        elif (label := target[(0, 0, *voxel)]) == CLASSES:
            expected = (0, 0, 1)
        else:
            expected = (label, 1, 1)
        assert (mixed.labels[at], mixed.confidence[at], mixed.trust[at]) == expected
    assert mixed.labels.dtype == torch.int64


def test_weight_is_the_trust_in_confident_voxels():
    pseudo = PseudoLabels(torch.zeros(1, 4), torch.tensor([[0.6, 0.7, 0.8, 0.9]]), torch.tensor([[1, 0.5, 0, 1]]))
    assert pseudo.weight(0.7).tolist() == [[0, 0.5, 0, 1]]
    assert PseudoLabels(pseudo.labels, pseudo.confidence).weight(0.7).tolist() == [[0, 1, 1, 1]]
