"""The method as one object, on a network that is not nnU-Net's."""

import dataclasses
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nnunetv2_crln.networks.unet3d import UNet3D
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.method.crln import CRLN, Batch
from nnunetv2_crln.training.method.phases import Phase
from nnunetv2_crln.training.method.strong_geometry import StrongGeometry
from nnunetv2_crln.training.wrapped_network import unwrap

CLASSES = 3
CPU = torch.device("cpu")


def supervised(outputs, target):
    return F.cross_entropy(outputs, target[:, 0].long())


def make_method(regions=None, **settings) -> CRLN:
    torch.manual_seed(0)
    network = UNet3D(
        input_channels=1,
        num_classes=CLASSES,
        features_per_stage=[4, 8, 8],
        n_conv_per_stage=[1, 1, 1],
        n_conv_per_stage_decoder=[1, 1],
        norm_op=nn.InstanceNorm3d,
        dropout=0.0,
        strides=[[1, 1, 1], [2, 2, 2], [2, 2, 2]],
        deep_supervision=False,
    )
    block = CRLNSettings(num_anchors=4, num_negatives=4, num_prototypes=2, **settings)
    return CRLN(network, block, CLASSES, 3, supervised, supervised, CPU, regions=regions)


def make_batch(labelled: int = 2, unlabelled: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(1)

    def images(number: int) -> torch.Tensor:
        return torch.randn(number, 1, 8, 8, 8, generator=generator)

    target = torch.randint(0, CLASSES, (labelled, 1, 8, 8, 8), generator=generator)
    boxes = torch.zeros(unlabelled, 8, 8, 8, dtype=torch.bool)
    weak = images(unlabelled)
    flips, pasted = torch.zeros(unlabelled, 3, dtype=torch.bool), torch.zeros(unlabelled, dtype=torch.bool)
    return Batch(images(labelled), target, weak, weak + 0.1, StrongGeometry(boxes, flips, pasted))


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


def test_the_teacher_follows_the_student_and_starts_as_its_copy():
    method = make_method()
    with torch.no_grad():
        next(method.student.parameters()).add_(1)  # weights that were loaded after the teacher had been built
    method.start(first_step=True)
    for mine, theirs in zip(method.teacher.module.parameters(), method.student.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    with torch.no_grad():
        next(method.student.parameters()).add_(1)
    before = next(method.teacher.module.parameters()).clone()
    forward = method.forward(make_batch(), Phase(False, 1.0), step=1)
    method.after_gradient_step(forward, Phase(False, 1.0), step=1)
    moved = next(method.teacher.module.parameters()) - before
    assert torch.allclose(moved, torch.full_like(moved, 0.5))  # decay min(1 - 1/2, 0.99)


def test_a_continued_training_keeps_its_teacher():
    method = make_method()
    with torch.no_grad():
        next(method.student.parameters()).add_(1)
    before = next(method.teacher.module.parameters()).clone()
    method.start(first_step=False)
    assert torch.equal(next(method.teacher.module.parameters()), before)


@pytest.mark.parametrize("rectifying", [True, False])
def test_mu_learns_only_while_rectifying(rectifying):
    method = make_method(mu_initial=0.5)
    phase = Phase(rectifying, 1.0)
    forward = method.forward(make_batch(), phase, step=0)
    method.after_gradient_step(forward, phase, step=0)
    assert (method.mu != 0.5) == rectifying and 0 <= method.mu <= 1


def test_without_a_map_nothing_is_corrected_by_mu():
    assert math.isnan(make_method(dim=False, cps=False, mu_initial=0.5).mu)


def test_state_goes_round():
    method, other = make_method(), make_method()
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


@pytest.mark.parametrize("deploy", ["teacher", "student"])
def test_what_is_deployed(deploy):
    method = make_method(deploy=deploy)
    assert method.deployed() is (method.teacher.module if deploy == "teacher" else method.student)


def test_unwrap_finds_the_network_inside_compile():
    network = nn.Linear(1, 1)
    assert unwrap(network) is network
    assert unwrap(torch.compile(network)) is network
