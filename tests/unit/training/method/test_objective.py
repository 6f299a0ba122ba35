"""The total loss of Eq. 15 on tiny tensors, with losses that can be told apart."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch.nn import functional as F

from nnunetv2_crln.losses.consistency import consistency_loss
from nnunetv2_crln.modules.feature_taps import DecoderFeatures
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.method import objective as module
from nnunetv2_crln.training.method.class_labels import ClassLabels
from nnunetv2_crln.training.method.heads import Heads
from nnunetv2_crln.training.method.objective import Objective, StudentPass
from nnunetv2_crln.training.method.phases import Phase
from nnunetv2_crln.training.method.pseudo_labels import PseudoLabels
from nnunetv2_crln.training.supervised_loss import build_pseudo_label_loss

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
            self.map = self.heads.relationship_map(labelled, GRID, self.settings.detach_features)
        self.pseudo = PseudoLabels(torch.randint(0, CLASSES, (2, *GRID)), torch.rand(2, *GRID))
        supervised = deep_cross_entropy if deep_supervision else cross_entropy
        self.objective = Objective(self.settings, supervised, cross_entropy, ClassLabels(CLASSES))

    def losses(self, ramp: float = 1.0, rectifying: bool = True) -> dict[str, torch.Tensor]:
        phase = Phase(rectifying=rectifying, ramp=ramp)
        return self.objective(self.student, self.map, self.heads, self.target, self.pseudo, phase)


# ------------------------------------------------------------------ pseudo labels and the student's pass


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
@given(consistency=weights, map_weight=st.floats(0.01, 5), cps=weights, ramp=st.floats(0, 1), deep=st.booleans())
def test_total_is_the_weighted_sum_and_only_unsupervised_terms_are_ramped_up(consistency, map_weight, cps, ramp, deep):
    step = Step(deep, consistency_weight=consistency, cps_weight=cps, relationship_map_weight=map_weight)
    losses = {name: loss.item() for name, loss in step.losses(ramp).items()}
    expected = losses["supervised"] + map_weight * losses["relationship_map"]
    expected += ramp * (consistency * losses["consistency"] + cps * losses["cps"])
    assert losses["loss"] == pytest.approx(expected, rel=1e-5)


def test_each_term_is_the_loss_of_its_own_patches():
    step = Step(deep_supervision=True, confidence_threshold=0.5)
    losses = step.losses()
    labelled = [o[:2] for o in (step.outputs, step.student.labelled_outputs[1])]
    assert torch.equal(losses["supervised"], deep_cross_entropy(labelled, step.target))
    assert torch.equal(losses["relationship_map"], cross_entropy(step.map, step.target[0]))
    confident = (step.pseudo.confidence >= 0.5).float()
    assert torch.equal(losses["consistency"], consistency_loss(step.outputs[2:], step.pseudo.labels, confident))


def test_pseudo_labels_go_through_nnunets_loss_at_every_resolution():
    """The same value as nnU-Net's own loss of a target that carries the ignore label where the teacher is unsure."""
    dice_options = {"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}
    nnunet = DC_and_CE_loss(dice_options, {}, ignore_label=CLASSES, dice_class=MemoryEfficientSoftDiceLoss)
    deep = DeepSupervisionWrapper(nnunet, [0.6, 0.4])
    step = Step(deep_supervision=True, pseudo_label_loss="nnunet", confidence_threshold=0.4)
    step.objective.pseudo_label_loss = build_pseudo_label_loss(deep, regions=False, setting="nnunet")
    target = torch.where(step.pseudo.confidence >= 0.4, step.pseudo.labels, CLASSES).unsqueeze(1)
    lower = target[..., 1::2, 1::2, 1::2]  # nearest-exact takes the upper of two voxels
    expected = deep(step.student.unlabelled_outputs, [target, lower])
    torch.testing.assert_close(step.losses()["consistency"], expected)


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
    step.pseudo = dataclasses.replace(step.pseudo, trust=torch.randint(0, 3, (2, *GRID)) / 2)
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
            at_voxel = (b - 2, *voxel)
            valid = step.pseudo.confidence[at_voxel].item() >= 0.6 and step.pseudo.trust[at_voxel].item() == 1
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
    given, ours = given_arguments["prototypes"], step.heads.dim.prototypes
    assert given is None if not uses_prototypes else torch.equal(given, ours)
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
    step = Step()
    half = dataclasses.replace(step.student, features=step.student.features.map(lambda f: f.detach().bfloat16()))
    step.student = half
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = step.losses()
    assert losses["cps"].dtype == losses["consistency"].dtype == torch.float32
    losses["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in step.heads.parameters())


# ------------------------------------------------------------------ what the objective learns


def test_cps_is_divided_by_the_logarithm_of_its_negatives():
    weights = Step(cps_balance="log_negatives", cps_weight=2.0).objective.weights(Phase(True, 0.5))
    assert weights["cps"] == pytest.approx(0.5 * 2 / np.log(9))


def test_cps_is_balanced_by_the_gradients_at_the_last_decoder_stage():
    """After many looks at the same step CPS pulls ``cps_weight`` times as hard as the supervised loss."""
    step = Step(cps_balance="gradient", cps_weight=0.5)
    layer = torch.nn.Conv3d(4, CLASSES, 1)
    outputs = layer(step.student.features.full)
    step.student = StudentPass.split(outputs, step.student.features, 2)
    losses, phase = step.losses(), Phase(rectifying=True, ramp=1.0)
    for number in range(1000):
        curves = step.objective.measure_and_balance_gradients(losses, step.student, phase, number)
    curves = step.objective.measure_and_balance_gradients(losses, step.student, phase, 0)
    assert curves["gradient_cps"].item() == pytest.approx(0.5 * curves["gradient_supervised"].item(), rel=1e-3)
    assert set(curves) == {"gradient_supervised", "gradient_consistency", "gradient_cps"}
    assert "cps_balance.factor" in step.objective.state.state_dict()


def test_a_compiled_network_is_asked_for_the_gradient_of_cps_alone():
    """A compiled loss cannot be differentiated twice: a tensor without a graph stands for it."""
    step = Step(gradient_norm_every=1)
    step.objective.expect_compiled_network()
    losses = {**step.losses(), "supervised": torch.ones(1)}
    norms = step.objective.measure_and_balance_gradients(losses, step.student, Phase(rectifying=True, ramp=1.0), 0)
    assert np.isnan(norms["gradient_supervised"].item()) and norms["gradient_cps"] > 0


@pytest.mark.parametrize(("every", "at", "keys", "finite"), [(0, 0, 0, 0), (4, 0, 2, 2), (4, 3, 2, 0), (4, 8, 2, 2)])
def test_gradients_are_looked_at_every_so_many_steps(every, at, keys, finite):
    step = Step(dim=False, cps=False, gradient_norm_every=every)
    outputs = torch.nn.Conv3d(4, CLASSES, 1)(step.student.features.full)
    step.student = StudentPass.split(outputs, step.student.features, 2)
    curves = step.objective.measure_and_balance_gradients(step.losses(), step.student, Phase(True, 1.0), at)
    assert len(curves) == keys and sum(bool(torch.isfinite(value)) for value in curves.values()) == finite


@pytest.mark.parametrize(
    ("setting", "num_classes", "on"), [("auto", 5, False), ("auto", 6, True), (True, 2, True), (False, 9, False)]
)
def test_class_thresholds_are_for_many_classes(setting, num_classes, on):
    objective = Objective(
        CRLNSettings(class_thresholds=setting), cross_entropy, cross_entropy, ClassLabels(num_classes)
    )
    assert (objective.class_thresholds is not None) == on


def test_each_voxel_is_held_against_the_threshold_of_its_class():
    step = Step(class_thresholds=True, confidence_threshold=0.8)
    step.objective.class_thresholds.confidence.copy_(torch.tensor([1.0, 0.5, 0.75]))
    limits = np.array([0.8, 0.4, 0.6])[step.pseudo.labels.numpy()]
    expected = torch.from_numpy(step.pseudo.confidence.numpy() >= limits).float()
    assert torch.equal(step.pseudo.weight(step.objective.threshold), expected)
    loss = consistency_loss(step.outputs[2:], step.pseudo.labels, expected)
    assert torch.equal(step.losses()["consistency"], loss)


@pytest.mark.parametrize("thresholds", [False, True])
def test_the_share_of_confident_voxels_is_that_of_the_labels_that_count(thresholds):
    step = Step(class_thresholds=thresholds, confidence_threshold=0.6)
    if thresholds:
        step.objective.class_thresholds.confidence.copy_(torch.tensor([1.0, 0.6, 0.9]))
    logits = 2 * torch.randn(2, CLASSES, *GRID)
    labels = step.objective.labels.of_logits(logits)
    expected = labels.weight(step.objective.threshold).mean()
    assert 0 < expected < 1
    torch.testing.assert_close(step.objective.share_of_confident(logits), expected)


def test_thresholds_learn_from_pseudo_labels():
    step = Step(class_thresholds=True)
    step.objective.learn_from(step.pseudo)
    assert (step.objective.class_thresholds.confidence < 1).any()
