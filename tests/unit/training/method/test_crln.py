"""The method as one object, on a network that is not nnU-Net's."""

import dataclasses
import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nnunetv2_crln.modules.rectification import agreement, rectify_logits
from nnunetv2_crln.networks.unet3d import UNet3D
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.method.class_labels import ClassLabels
from nnunetv2_crln.training.method.crln import CRLN, Batch
from nnunetv2_crln.training.method.image_prototypes import image_prototype_map, region_prototype_map
from nnunetv2_crln.training.method.known_labels import NOT_ANNOTATED
from nnunetv2_crln.training.method.objective import Objective
from nnunetv2_crln.training.method.phases import Phase
from nnunetv2_crln.training.method.region_objective import RegionObjective
from nnunetv2_crln.training.method.strong_geometry import StrongGeometry
from nnunetv2_crln.utilities.wrapped_network import unwrap

CLASSES = 3
CPU = torch.device("cpu")


def supervised(outputs, target):
    return F.cross_entropy(outputs, target[:, 0].long())


def make_method(regions=None, norm_op=nn.InstanceNorm3d, **settings) -> CRLN:
    torch.manual_seed(0)
    network = UNet3D(
        input_channels=1,
        num_classes=CLASSES,
        features_per_stage=[4, 8, 8],
        n_conv_per_stage=[1, 1, 1],
        n_conv_per_stage_decoder=[1, 1],
        norm_op=norm_op,
        dropout=0.0,
        strides=[[1, 1, 1], [2, 2, 2], [2, 2, 2]],
        deep_supervision=False,
    )
    block = CRLNSettings(num_anchors=4, num_negatives=4, num_prototypes=2, **settings)
    objective = (
        Objective(block, supervised, supervised, ClassLabels(CLASSES))
        if regions is None
        else RegionObjective(block, supervised, supervised, regions)
    )
    return CRLN(network, objective, 3, CPU)


def make_batch(labelled: int = 2, unlabelled: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(1)

    def images(number: int) -> torch.Tensor:
        return torch.randn(number, 1, 8, 8, 8, generator=generator)

    target = torch.randint(0, CLASSES, (labelled, 1, 8, 8, 8), generator=generator)
    boxes = torch.zeros(unlabelled, 8, 8, 8, dtype=torch.bool)
    weak = images(unlabelled)
    flips, pasted = torch.zeros(unlabelled, 3, dtype=torch.bool), torch.zeros(unlabelled, dtype=torch.bool)
    return Batch(images(labelled), target, weak, weak + 0.1, StrongGeometry(boxes, flips, pasted))


def test_the_teacher_labels_the_weak_view_and_the_student_learns_from_the_strong_one():
    method, batch, seen = make_method(), make_batch(), []
    for name, network in (("teacher", method.teacher.module), ("student", method.student)):
        network.register_forward_pre_hook(lambda _, images, name=name: seen.append((name, images[0])))
    method.forward(batch, Phase(True, 1.0), step=0)
    (teacher, first), (student, second) = seen
    assert (teacher, student) == ("teacher", "student")
    assert torch.equal(first, batch.weak)
    assert torch.equal(second, torch.cat([batch.labelled, batch.strong]))


@torch.no_grad()
def test_pseudo_labels_are_rectified_with_the_map_of_the_teachers_own_heads():
    method, weak = make_method(rectification="learned", mu_initial=0.25), make_batch().weak
    heads = method.teacher_heads.module
    for parameter in heads.parameters():
        parameter.mul_(3)
    logits = method.teacher.module(weak)
    relationship_map = heads.relationship_map(method.teacher_taps.take(), weak.shape[2:], detach=True)
    expected = torch.softmax(logits + 0.75 * relationship_map, 1)
    pseudo, _ = method.pseudo_labels(weak, rectifying=True)
    torch.testing.assert_close(pseudo.confidence, expected.amax(1))
    assert torch.equal(pseudo.labels, expected.argmax(1))


@torch.no_grad()
@pytest.mark.parametrize("regions", [None, [(1,), (2,), (1, 2)]])
def test_pseudo_labels_are_rectified_with_the_prototypes_of_their_own_image(regions):
    method, weak = make_method(regions=regions, rectification="image"), make_batch().weak
    method.teacher.module.decoder.seg_layers[-1].weight.mul_(30)  # sure enough for prototypes
    logits = method.teacher.module(weak)
    features = method.teacher_taps.take()
    second_opinion = (image_prototype_map if regions is None else region_prototype_map)(logits, features)
    assert second_opinion.any()
    pseudo, _ = method.pseudo_labels(weak, rectifying=True)
    expected = method.objective.labels.of_logits(logits + second_opinion)
    torch.testing.assert_close(pseudo.confidence, expected.confidence)
    assert torch.equal(pseudo.labels, expected.labels)


def test_only_known_labels_are_learned_from_where_the_teacher_is_not_sure():
    method, batch = make_method(dim=False, cps=False, confidence_threshold=1.0), make_batch()
    known = torch.randint(0, CLASSES, batch.weak[:, 0].shape)
    known[:, :4] = -1
    losses = method.forward(dataclasses.replace(batch, known=known), Phase(False, 1.0), step=0).losses
    logits = method.network(torch.cat([batch.labelled, batch.strong]))[len(batch.labelled) :]
    of_known = F.cross_entropy(logits, known, ignore_index=-1, reduction="sum")
    torch.testing.assert_close(losses["consistency"], of_known / known.numel())


@pytest.mark.parametrize("rectifying", [True, False])
def test_the_teacher_gives_no_voxel_a_class_that_it_cannot_have(rectifying):
    method, batch, taught = make_method(), make_batch(), []
    method.objective.learn_from = taught.append
    known = torch.full(batch.weak[:, 0].shape, NOT_ANNOTATED)
    annotated = torch.tensor([[False, True, True], [False, False, True]])
    method.forward(dataclasses.replace(batch, known=known, annotated=annotated), Phase(rectifying, 1.0), step=0)
    (pseudo,) = taught
    assert pseudo.labels[0].unique().tolist() == [0] and (pseudo.confidence[0] == 1).all()
    assert pseudo.labels[1].unique().tolist() == [0, 1]


@pytest.mark.parametrize("extra", [{}, {"known": torch.tensor([[1, -2]]), "annotated": torch.tensor([[True, False]])}])
def test_a_batch_keeps_all_that_is_known_of_its_patches(extra):
    names = ("data", "target", "unlabelled_weak", "unlabelled_strong", "boxes", "flips", "pasted")
    drawn = {name: torch.tensor([index]) for index, name in enumerate(names)}
    drawn["target"] = [drawn["target"], drawn["target"] + 10]
    batch = Batch.on_device({**drawn, **{f"unlabelled_{name}": value for name, value in extra.items()}}, CPU)
    assert (batch.known, batch.annotated) == (extra.get("known"), extra.get("annotated"))
    assert [batch.labelled.item(), batch.weak.item(), batch.strong.item()] == [0, 2, 3]
    assert [target.item() for target in batch.target] == [1, 11]
    geometry = batch.geometry
    assert [geometry.boxes.item(), geometry.flips.item(), geometry.pasted.item()] == [4, 5, 6]


def test_labels_of_the_labelled_patches_come_along_with_copied_voxels():
    method = make_method(dim=False, cps=False, copy_paste_probability=1.0, confidence_threshold=1.0)
    batch = make_batch()
    geometry = dataclasses.replace(
        batch.geometry, boxes=torch.ones_like(batch.geometry.boxes), pasted=torch.tensor([True, True])
    )
    batch = dataclasses.replace(batch, geometry=geometry, strong=batch.labelled)  # all voxels are copied
    losses = method.forward(batch, Phase(False, 1.0), step=0).losses
    logits = method.network(batch.labelled)
    assert torch.allclose(losses["consistency"], F.cross_entropy(logits, batch.target[:, 0]))


@pytest.mark.parametrize(("weight", "changed"), [(0.0, True), (1.0, False)])
def test_where_teacher_and_map_differ_agreement_lowers_the_weight(weight, changed):
    method = make_method(rectification="agreement", disagreement_weight=weight)
    pseudo, monitored = method.pseudo_labels(make_batch().weak, rectifying=True)
    assert (pseudo.trust < 1).any() == changed
    assert monitored["confident"] == pseudo.weight(method.settings.confidence_threshold).mean()
    raw, _ = method.pseudo_labels(make_batch().weak, rectifying=False)
    assert raw.trust is None


@pytest.mark.parametrize(("settings", "decay"), [({"ema_decay": None}, 0.996), ({"ema_decay": 0.9}, 0.9), ({}, 0.99)])
def test_the_teachers_memory_follows_the_length_of_the_training(settings, decay):
    method = make_method(**settings)
    method.start(True, iterations_per_epoch=250, total_iterations=250_000)
    assert method.longest_decay == decay


PARTS = {
    "whole": ({}, {"supervised", "consistency", "relationship_map", "cps"}),
    "no CPS": ({"cps": False}, {"supervised", "consistency", "relationship_map"}),
    "mean teacher": ({"dim": False, "cps": False}, {"supervised", "consistency"}),
}


@pytest.mark.parametrize(("settings", "expected"), PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("rectifying", [True, False])
def test_a_step_has_the_losses_of_its_parts_and_reaches_every_added_module(settings, expected, rectifying):
    method = make_method(**settings)
    # Without a DIM there is no phase with rectification.
    forward = method.forward(make_batch(), Phase(rectifying and method.settings.dim, ramp=1.0), step=0)
    assert expected <= set(forward.losses) and torch.isfinite(forward.losses["loss"])
    forward.losses["loss"].backward()
    assert all(p.grad is not None for p in method.heads.parameters())
    assert all(p.grad is not None for p in method.student.encoder.parameters())
    assert all(p.grad is None for p in method.teacher.module.parameters())
    assert not any(value.requires_grad for value in forward.detached().values())


def test_a_new_training_starts_with_a_copy_of_the_student_as_teacher():
    method = make_method()
    with torch.no_grad():
        next(method.student.parameters()).add_(1)  # weights that were loaded after the teacher had been built
    method.start(first_step=True)
    for mine, theirs in zip(method.teacher.module.parameters(), method.student.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize(("step", "share"), [(1, 0.5), (500, 0.1)])  # decay min(1 - 1 / (step + 1), 0.9)
def test_the_teacher_and_its_heads_follow_the_student_and_its_heads(step, share):
    method = make_method(ema_decay=0.9)
    with torch.no_grad():
        for parameter in itertools.chain(method.student.parameters(), method.heads.parameters()):
            parameter.add_(1)
    teachers = [*method.teacher.module.parameters(), *method.teacher_heads.module.parameters()]
    before = [parameter.clone() for parameter in teachers]
    forward = method.forward(make_batch(), Phase(False, 1.0), step)
    method.after_gradient_step(forward, Phase(False, 1.0), step)
    for old, new in zip(before, teachers, strict=True):
        torch.testing.assert_close(new - old, torch.full_like(old, share))


def test_a_continued_training_keeps_its_teacher():
    method = make_method()
    with torch.no_grad():
        next(method.student.parameters()).add_(1)
    before = next(method.teacher.module.parameters()).clone()
    method.start(first_step=False)
    assert torch.equal(next(method.teacher.module.parameters()), before)


@pytest.mark.parametrize("rectifying", [True, False])
def test_mu_learns_only_while_rectifying(rectifying):
    method = make_method(rectification="learned", mu_initial=0.5)
    phase = Phase(rectifying, 1.0)
    forward = method.forward(make_batch(), phase, step=0)
    method.after_gradient_step(forward, phase, step=0)
    assert (method.mu != 0.5) == rectifying and 0 <= method.mu <= 1


def test_without_a_map_nothing_is_corrected_by_mu():
    assert math.isnan(make_method(dim=False, cps=False, mu_initial=0.5).mu)


def test_state_goes_round():
    method, other = (make_method(rectification="learned") for _ in range(2))
    phase = Phase(True, 1.0)
    method.forward(make_batch(), phase, step=0).losses["loss"].backward()
    with torch.no_grad():
        for parameter in (*method.student.parameters(), *method.heads.parameters()):
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    method.after_gradient_step(method.forward(make_batch(), phase, step=0), phase, step=0)
    other.load_state_dict(method.state_dict())
    torch.manual_seed(0)
    a = method.forward(make_batch(), phase, step=0).losses["loss"]
    torch.manual_seed(0)
    b = other.forward(make_batch(), phase, step=0).losses["loss"]
    assert a.item() == b.item() and method.mu == other.mu


def test_the_class_thresholds_learn_in_a_step_and_go_round_with_the_rest():
    method, other = (make_method(class_thresholds=True) for _ in range(2))
    method.forward(make_batch(), Phase(True, 1.0), step=0)
    learned = method.objective.class_thresholds.confidence
    assert (learned < 1).any()
    other.load_state_dict(method.state_dict())
    assert torch.equal(other.objective.class_thresholds.confidence, learned)


def test_mu_learns_with_its_own_learning_rate_after_a_continuation_too():
    old, new = (make_method(rectification="learned", mu_learning_rate=rate) for rate in (0.25, 0.5))
    assert [group["lr"] for group in new.rectifier_optimizer.param_groups] == [0.5]
    new.load_state_dict(old.state_dict())
    assert [group["lr"] for group in new.rectifier_optimizer.param_groups] == [0.5]


@pytest.mark.parametrize("detach", [True, False])
def test_the_map_trains_the_network_unless_its_features_are_detached(detach):
    method = make_method(detach_features=detach)
    method.forward(make_batch(), Phase(False, 1.0), step=0).losses["relationship_map"].backward()
    assert any(parameter.grad is not None for parameter in method.student.parameters()) != detach
    assert any(parameter.grad is not None for parameter in method.heads.parameters())


@pytest.mark.parametrize("deploy", ["teacher", "student"])
def test_what_is_deployed(deploy):
    method = make_method(deploy=deploy)
    assert method.deployed() is (method.teacher.module if deploy == "teacher" else method.student)


def test_unwrap_finds_the_network_inside_compile():
    network = nn.Linear(1, 1)
    assert unwrap(network) is network
    assert unwrap(torch.compile(network)) is network


@torch.no_grad()
def test_trust_compares_the_map_with_the_logits_that_it_has_not_replaced():
    method, weak = make_method(rectification="agreement", disagreement_weight=0.25), make_batch().weak
    heads = method.teacher_heads.module
    for parameter in heads.parameters():
        parameter.mul_(3)
    logits = method.teacher.module(weak)
    relationship_map = heads.relationship_map(method.teacher_taps.take(), weak.shape[2:], detach=True)
    surer = torch.softmax(relationship_map, 1).amax(1) > torch.softmax(logits, 1).amax(1)
    expected = agreement(logits, relationship_map, 0.25)
    assert (surer & (expected < 1)).any()
    pseudo, _ = method.pseudo_labels(weak, rectifying=True)
    assert torch.equal(pseudo.trust, expected)


def test_mu_goes_down_the_gradient_of_the_labelled_patches_alone():
    """Eq. 16, twice: nothing of the first step may be left in the second one."""
    method, phase = make_method(rectification="learned", mu_initial=0.5, mu_learning_rate=0.1), Phase(True, 1.0)
    for step in range(2):
        forward = method.forward(make_batch(), phase, step)
        mu = torch.tensor(method.mu, requires_grad=True)
        rectified = rectify_logits(forward.logits.detach(), forward.labelled_map.detach(), mu)
        (gradient,) = torch.autograd.grad(supervised(rectified, forward.target), mu)
        method.after_gradient_step(forward, phase, step)
        assert abs(gradient) > 1e-4
        assert method.mu - mu.item() == pytest.approx(-0.1 * gradient.item(), rel=1e-3)
    assert all(parameter.grad is None for parameter in (*method.student.parameters(), *method.heads.parameters()))


@pytest.mark.parametrize(("map_scale", "expected"), [(math.nan, 0.5), (1.0, 0.0)])
def test_mu_stays_finite_and_in_its_range_after_any_batch(map_scale, expected):
    method, phase = make_method(rectification="learned", mu_initial=0.5, mu_learning_rate=1e3), Phase(True, 1.0)
    forward = method.forward(make_batch(), phase, step=0)
    logits, target = forward.logits.detach(), forward.target
    right = F.one_hot(target[:, 0], CLASSES).movedim(-1, 1).float()  # the map is right: mu falls
    method.after_gradient_step(
        dataclasses.replace(forward, logits=0 * logits, labelled_map=map_scale * right), phase, step=0
    )
    assert method.mu == expected


def test_true_labels_are_no_confidence_of_the_teacher():
    method, batch, taught = make_method(), make_batch(), []
    method.objective.learn_from = taught.append
    known = torch.full(batch.weak[:, 0].shape, 2)
    method.forward(dataclasses.replace(batch, known=known), Phase(False, 1.0), step=0)
    own, _ = method.pseudo_labels(batch.weak, rectifying=False)
    assert torch.equal(taught[0].labels, own.labels) and torch.equal(taught[0].confidence, own.confidence)


def test_a_bad_batch_brings_back_the_statistics_of_weights_that_were_loaded_late():
    method = make_method(norm_op=nn.BatchNorm3d)
    statistics = [buffer for buffer in method.student.buffers() if buffer.is_floating_point()]
    for buffer in statistics:
        buffer.fill_(5)
    method.start(first_step=True)
    forward = method.forward(make_batch(), Phase(False, 1.0), step=0)
    for buffer in statistics:
        buffer.fill_(math.nan)
    method.after_gradient_step(forward, Phase(False, 1.0), step=0)
    assert statistics and all((buffer == 5).all() for buffer in statistics)
