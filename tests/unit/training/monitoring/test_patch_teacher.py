"""What monitoring sees of the teacher, against the same quantities computed from full probabilities."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from nnunetv2_crln.modules.feature_taps import DecoderFeatures
from nnunetv2_crln.modules.rectification import rectify_logits
from nnunetv2_crln.training.monitoring.patch_teacher import PatchTeacher, class_probabilities
from nnunetv2_crln.training.monitoring.patches import Patch

GRID = (6, 5, 4)


class Network(nn.Module):
    """Network whose logits are given."""

    def __init__(self, logits: torch.Tensor):
        super().__init__()
        self.logits, self.decoder = logits, SimpleNamespace(deep_supervision=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        assert not self.decoder.deep_supervision
        return self.logits


class Heads(nn.Module):
    """Heads whose second opinion is given."""

    def __init__(self, m: torch.Tensor | None):
        super().__init__()
        self.m = m

    def second_opinion(self, logits: torch.Tensor, features: DecoderFeatures) -> torch.Tensor | None:
        assert isinstance(features, DecoderFeatures)
        return self.m


def build_teacher(logits: torch.Tensor, m: torch.Tensor | None, order: list[int] | None = None) -> PatchTeacher:
    features = DecoderFeatures(*[torch.zeros(1)] * 3)
    method = SimpleNamespace(
        num_classes=logits.shape[1],
        teacher=SimpleNamespace(module=Network(logits)),
        teacher_taps=SimpleNamespace(take=lambda: features),
        teacher_heads=SimpleNamespace(module=Heads(m)),
        rectifier=lambda logits, m: rectify_logits(logits, m, torch.tensor(0.25)),
    )
    labels = SimpleNamespace(regions_class_order=order, has_regions=order is not None)
    return PatchTeacher(method, torch.device("cpu"), contextlib.nullcontext, labels)


@pytest.fixture
def patch() -> Patch:
    inside = np.ones(GRID, bool)
    inside[4:] = False
    return Patch("case", np.zeros((1, *GRID), np.float32), inside, None, (1.0,) * 3, ())


@pytest.mark.parametrize("order", [None, [1, 2, 4]])
@pytest.mark.parametrize("rectifying", [True, False])
def test_labels_confidence_and_volumes_are_those_of_the_probabilities(patch, order, rectifying):
    logits, m = 3 * torch.randn(1, 3, *GRID), 3 * torch.randn(1, 3, *GRID)

    def probabilities(values: torch.Tensor) -> np.ndarray:
        p = torch.softmax(values, 1)[0] if order is None else class_probabilities(torch.sigmoid(values)[0], order)
        return p.double().numpy()

    raw = probabilities(logits)
    rectified = probabilities(logits + 0.75 * m) if rectifying else raw
    seen = build_teacher(logits, m, order)(patch, rectifying)
    for pseudo, expected in ((seen.raw, raw), (seen.rectified, rectified)):
        np.testing.assert_array_equal(pseudo.labels, expected.argmax(0))
        np.testing.assert_allclose(pseudo.confidence, expected.max(0), rtol=1e-5)
    np.testing.assert_allclose(seen.volumes, rectified[:, patch.inside].sum(1), rtol=1e-5)
    np.testing.assert_array_equal(seen.map_labels, probabilities(m).argmax(0))


def test_no_array_has_an_axis_of_classes_unless_the_map_is_asked_for(patch):
    """With a hundred classes and patches of 128³, a copy of all probabilities to the host takes seconds."""
    teacher = build_teacher(torch.randn(1, 7, *GRID), torch.randn(1, 7, *GRID))
    seen = teacher(patch, True)
    assert seen.relationship_map is None
    arrays = [seen.raw.labels, seen.raw.confidence, seen.rectified.labels, seen.rectified.confidence, seen.map_labels]
    assert {array.shape for array in arrays} == {GRID}
    assert teacher(patch, True, with_map=True).relationship_map.shape == (7, *GRID)


def test_without_a_dynamic_interaction_module_there_is_no_map(patch):
    teacher = build_teacher(torch.randn(1, 3, *GRID), None)
    seen = teacher(patch, True, with_map=True)
    assert seen.map_labels is None and seen.relationship_map is None
    assert seen.rectified is seen.raw
