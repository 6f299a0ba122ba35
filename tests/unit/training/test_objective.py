"""The total loss of Eq. 15 on tiny tensors, with losses that can be told apart."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch.nn import functional as F

from nnunetv2_crln.losses.consistency import consistency_dice_loss, consistency_loss
from nnunetv2_crln.modules.feature_taps import DecoderFeatures
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training import objective as module
from nnunetv2_crln.training.dataloading.views import StrongGeometry
from nnunetv2_crln.training.heads import Heads
from nnunetv2_crln.training.objective import Objective, PseudoLabels, StudentPass, relationship_map
from nnunetv2_crln.training.phases import Phase

CLASSES, GRID = 3, (4, 4, 4)


def features(batch: int = 4) -> DecoderFeatures:
    shapes = [(batch, 8, 1, 1, 1), (batch, 6, 2, 2, 2), (batch, 4, *GRID)]
    return DecoderFeatures(*[torch.randn(shape, requires_grad=True) for shape in shapes])


def cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits, target[:, 0].long(), ignore_index=CLASSES)


def deep_cross_entropy(outputs: list, targets: list) -> torch.Tensor:
    return sum(cross_entropy(o, t) / 2**i for i, (o, t) in enumerate(zip(outputs, targets, strict=True)))


class Step:
    """One step's arguments: 2 labelled and 2 unlabelled patches."""

    def __init__(self, deep_supervision: bool = False, **block) -> None:
        self.settings = CRLNSettings(**{"num_anchors": 8, "num_negatives": 8, "num_prototypes": 2, **block})
        self.heads = Heads((8, 6, 4), CLASSES, 3, self.settings)
        self.outputs = torch.randn(4, CLASSES, *GRID, requires_grad=True)
        self.target = torch.randint(0, CLASSES, (2, 1, *GRID)).short()
        outputs = self.outputs
        if deep_supervision:
            outputs = [outputs, torch.randn(4, CLASSES, 2, 2, 2, requires_grad=True)]
            self.target = [self.target, torch.randint(0, CLASSES, (2, 1, 2, 2, 2)).short()]
        self.student = StudentPass.split(outputs, features(), 2)
        self.map = None
        if self.settings.dim:
            labelled = self.student.features.map(lambda f: f[:2])
            self.map = relationship_map(self.heads, labelled, GRID, self.settings.detach_features)
        self.pseudo = PseudoLabels(torch.randint(0, CLASSES, (2, *GRID)), torch.rand(2, *GRID))
        supervised = deep_cross_entropy if deep_supervision else cross_entropy
        self.objective = Objective(self.settings, supervised, cross_entropy, CLASSES)

    def losses(self, ramp: float = 1.0, rectifying: bool = True) -> dict[str, torch.Tensor]:
        phase = Phase(rectifying=rectifying, ramp=ramp)
        return self.objective(self.student, self.map, self.heads, self.target, self.pseudo, phase)


# ------------------------------------------------------------------ pseudo labels and the student's pass


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


def test_student_pass_separates_labelled_and_unlabelled_patches():
    full, low = torch.randn(5, CLASSES, 4, 4), torch.randn(5, CLASSES, 2, 2)
    deep = StudentPass.split([full, low], features(5), 2)
    assert [len(o) for o in deep.labelled_outputs] == [2, 2]
    assert torch.equal(deep.labelled_outputs[1], low[:2])
    assert torch.equal(deep.labelled_logits, full[:2]) and torch.equal(deep.unlabelled_logits, full[2:])
    single = StudentPass.split(full, features(5), 2)
    assert torch.equal(single.labelled_outputs, full[:2])


# ------------------------------------------------------------------ the sum


weights = st.floats(0, 5)


@hypothesis_settings(max_examples=25)
@given(consistency=weights, dice=weights, map_weight=weights, cps=weights, ramp=st.floats(0, 1), deep=st.booleans())
def test_total_is_the_weighted_sum_and_only_unsupervised_terms_are_ramped_up(
    consistency, dice, map_weight, cps, ramp, deep
):
    block = {"consistency_dice_weight": dice, "relationship_map_weight": map_weight}
    step = Step(deep, consistency_weight=consistency, cps_weight=cps, **block)
    losses = {name: loss.item() for name, loss in step.losses(ramp).items()}
    expected = losses["supervised"] + map_weight * losses["relationship_map"]
    expected += ramp * (consistency * losses["consistency"] + cps * losses["cps"])
    if dice:
        expected += ramp * dice * losses["consistency_dice"]
    assert losses["loss"] == pytest.approx(expected, rel=1e-5)


def test_each_term_is_the_loss_of_its_own_patches():
    step = Step(deep_supervision=True, consistency_dice_weight=1.0, confidence_threshold=0.5)
    losses = step.losses()
    labelled = [o[:2] for o in (step.outputs, step.student.labelled_outputs[1])]
    assert torch.equal(losses["supervised"], deep_cross_entropy(labelled, step.target))
    assert torch.equal(losses["relationship_map"], cross_entropy(step.map, step.target[0]))
    unlabelled = (step.outputs[2:], step.pseudo.labels, step.pseudo.confidence, 0.5)
    assert torch.equal(losses["consistency"], consistency_loss(*unlabelled))
    assert torch.equal(losses["consistency_dice"], consistency_dice_loss(*unlabelled))


def test_mean_teacher_has_no_term_of_dim_or_cps():
    losses = Step(dim=False, cps=False).losses()
    assert set(losses) == {"supervised", "consistency", "loss"}


def test_at_ramp_0_every_parameter_still_takes_part():
    """DistributedDataParallel waits for every parameter from the first step on."""
    step = Step()
    step.losses(ramp=0.0, rectifying=False)["loss"].backward()
    assert [name for name, p in step.heads.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("detach", [True, False])
def test_detached_features_keep_the_dims_gradient_out_of_the_network(detach):
    step = Step(detach_features=detach, cps=False)
    step.losses()["relationship_map"].backward()
    reached = [feature.grad is not None for feature in vars(step.student.features).values()]
    assert reached == ([False] * 3 if detach else [True, True, False])
    assert step.heads.dim.prototypes.grad is not None


# ------------------------------------------------------------------ what CPS is given


def arguments_of_cps(step: Step, monkeypatch: pytest.MonkeyPatch, **phase) -> dict:
    names = ("represent", "labels", "valid", "uncertain", "num_classes", "prototypes", "prototype_weight")
    given_arguments = {}

    def record(*args):
        given_arguments.update(zip(names, args[: len(names)], strict=True), rest=args[len(names) :])
        return torch.zeros(())

    monkeypatch.setattr(module, "cooperative_positive_supervision", record)
    step.losses(**phase)
    return given_arguments


def test_cps_sees_true_labels_confident_pseudo_labels_and_the_students_doubts(monkeypatch):
    """Voxel by voxel, with the ignore label among the labels."""
    step = Step(cps_confidence=0.6, anchor_uncertainty=0.5)
    step.target[0, 0, :2] = CLASSES
    given_arguments = arguments_of_cps(step, monkeypatch)
    probs = np.exp(step.outputs.detach().double().numpy())
    probs /= probs.sum(1, keepdims=True)
    at = 0
    for b, *voxel in np.ndindex(4, *GRID):
        if b < 2:
            label = int(step.target[(b, 0, *voxel)])
            valid = label in range(CLASSES)
        else:
            label = int(step.pseudo.labels[(b - 2, *voxel)])
            valid = step.pseudo.confidence[(b - 2, *voxel)].item() >= 0.6
        assert given_arguments["valid"][at].item() == valid
        if valid:
            assert given_arguments["labels"][at] == label
            assert given_arguments["uncertain"][at].item() == (probs[(b, label, *voxel)] < 0.5)
        at += 1
    assert at == len(given_arguments["labels"])
    assert given_arguments["num_classes"] == CLASSES


def test_cps_representations_are_those_of_the_full_resolution_features(monkeypatch):
    step = Step()
    given_arguments = arguments_of_cps(step, monkeypatch)
    voxels = torch.tensor([3, 200])
    expected = step.heads.representation(step.student.features.full, voxels)
    assert torch.equal(given_arguments["represent"](voxels), expected)


@pytest.mark.parametrize(
    ("positive", "rectifying", "uses_prototypes", "weight"),
    [
        ("both", True, True, 0.3),
        ("both", False, False, 0.3),
        ("mean", True, False, 0.3),
        ("prototype", True, True, 1e6),
        ("prototype", False, False, 1e6),
    ],
)
def test_prototypes_take_part_in_the_positive_once_rectification_has_started(
    monkeypatch, positive, rectifying, uses_prototypes, weight
):
    step = Step(cps_positive=positive, prototype_weight=0.3)
    given_arguments = arguments_of_cps(step, monkeypatch, rectifying=rectifying)
    assert (given_arguments["prototypes"] is step.heads.dim.prototypes) == uses_prototypes
    assert given_arguments["prototype_weight"] == weight


def test_cps_without_dim_uses_the_class_means(monkeypatch):
    assert arguments_of_cps(Step(dim=False), monkeypatch)["prototypes"] is None


def test_cps_counts_and_temperature_are_the_settings(monkeypatch):
    step = Step(num_anchors=5, num_negatives=7, cps_temperature=0.25)
    assert arguments_of_cps(step, monkeypatch)["rest"] == (5, 7, 0.25)


def test_cps_changes_the_features_and_no_prototype_and_no_logit():
    step = Step()
    step.losses()["cps"].backward()
    assert step.student.features.full.grad.abs().sum() > 0
    assert step.heads.dim.prototypes.grad is None
    assert step.outputs.grad is None


def test_works_under_autocast_and_computes_cps_in_full_precision():
    step = Step(consistency_dice_weight=1.0)
    half = dataclasses.replace(step.student, features=step.student.features.map(lambda f: f.detach().bfloat16()))
    step.student = half
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = step.losses()
    assert losses["cps"].dtype == losses["consistency"].dtype == torch.float32
    losses["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in step.heads.parameters())
