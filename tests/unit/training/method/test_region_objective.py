"""Regions: one region is the same as two classes, several overlap, and each follows its own labels."""

import numpy as np
import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss
from torch.nn import functional as F

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.losses.region_pseudo_label import RegionPseudoLabelLoss
from nnunetv2_crln.modules.feature_taps import DecoderFeatures
from nnunetv2_crln.modules.regions import RegionRectification, as_regions, as_two_classes
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.method import objective as objective_module
from nnunetv2_crln.training.method.class_labels import ClassLabels
from nnunetv2_crln.training.method.heads import Heads, build_rectifier
from nnunetv2_crln.training.method.objective import Objective, StudentPass
from nnunetv2_crln.training.method.phases import Phase
from nnunetv2_crln.training.method.pseudo_labels import PseudoLabels
from nnunetv2_crln.training.method.region_labels import RegionLabels, label_values
from nnunetv2_crln.training.method.region_objective import RegionObjective
from nnunetv2_crln.training.method.strong_geometry import StrongGeometry
from nnunetv2_crln.training.monitoring.patch_teacher import class_probabilities
from nnunetv2_crln.training.supervised_loss import build_pseudo_label_loss

GRID = (4, 4, 4)
PHASE = Phase(rectifying=True, ramp=1.0)


def settings(**block) -> CRLNSettings:
    return CRLNSettings(**{"num_anchors": 8, "num_negatives": 8, "num_prototypes": 2, **block})


def features(batch: int = 4) -> DecoderFeatures:
    return DecoderFeatures(*[torch.randn(s) for s in [(batch, 8, 1, 1, 1), (batch, 6, 2, 2, 2), (batch, 4, *GRID)]])


def regions(number: int) -> list[tuple[int, ...]]:
    """Label values of regions that do not overlap."""
    return [(value,) for value in range(1, number + 1)]


def region_pseudo_labels(logits: torch.Tensor) -> PseudoLabels:
    return RegionLabels(regions(logits.shape[1])).of_logits(logits)


def no_loss(outputs, target):
    return torch.zeros(())


def as_classes(heads: Heads, block: CRLNSettings) -> Heads:
    """The same weights for two plain classes."""
    plain = Heads((8, 6, 4), 2, 3, block)
    plain.load_state_dict(heads.state_dict())
    return plain


# ------------------------------------------------------------------ one region is two classes


def test_the_two_classes_of_a_region_have_its_probability():
    logits = torch.randn(2, 3, *GRID)
    two = as_two_classes(logits)
    torch.testing.assert_close(torch.softmax(two, 1)[:, 1].unflatten(0, (2, 3)), torch.sigmoid(logits))
    torch.testing.assert_close(as_regions(two, 3), logits)


def test_pseudo_labels_of_one_region_are_those_of_two_classes():
    logits = torch.randn(2, 1, *GRID)
    region, classes = region_pseudo_labels(logits), PseudoLabels.from_logits(as_two_classes(logits))
    assert torch.equal(region.labels[:, 0], classes.labels)
    torch.testing.assert_close(region.confidence[:, 0], classes.confidence)


@pytest.mark.parametrize("kind", ["learned", "fixed", "concat", "agreement"])
def test_rectifying_one_region_is_rectifying_two_classes(kind):
    block = settings(rectification=kind, confidence_threshold=0.7, mu_initial=0.3)
    rectifier = build_rectifier(2, 3, block)
    logits, m = torch.randn(2, 1, *GRID), torch.randn(2, 1, *GRID)
    region = RegionRectification(rectifier)(logits, m)
    classes = rectifier(as_two_classes(logits), as_two_classes(m))
    torch.testing.assert_close(torch.sigmoid(region)[:, 0], torch.softmax(classes, 1)[:, 1])
    if kind == "learned":
        torch.testing.assert_close(region, logits + 0.7 * m)
        assert RegionRectification(rectifier).correction_parameter() is rectifier.mu


def test_the_map_of_one_region_is_the_difference_of_two_classes():
    block = settings()
    heads, f = Heads((8, 6, 4), 1, 3, block, regions=True), features()
    region = heads.relationship_map(f, GRID, detach=True)
    classes = as_classes(heads, block).relationship_map(f, GRID, detach=True)
    assert region.shape == (4, 1, *GRID)
    torch.testing.assert_close(region[:, 0], classes[:, 1] - classes[:, 0])


@pytest.mark.parametrize("cps_positive", ["both", "mean", "prototype"])
def test_all_terms_of_one_region_are_those_of_two_classes(cps_positive):
    # Some voxels are uncertain on either side of the region, and some are not.
    block = settings(cps_positive=cps_positive, confidence_threshold=0.6, cps_confidence=0.6, anchor_uncertainty=0.5)
    heads, f = Heads((8, 6, 4), 1, 3, block, regions=True), features()
    logits = torch.randn(4, 1, *GRID)
    target = torch.randint(0, 2, (2, 1, *GRID))
    pseudo = region_pseudo_labels(torch.randn(2, 1, *GRID))
    student = StudentPass.split(logits, f, 2)
    objective = RegionObjective(block, no_loss, no_loss, regions(1))
    plain_student = StudentPass.split(as_two_classes(logits), f, 2)
    plain_pseudo = PseudoLabels(pseudo.labels[:, 0], pseudo.confidence[:, 0])
    plain_heads, terms = as_classes(heads, block), []
    for compute in (
        lambda: objective(student, None, heads, target.bool(), pseudo, PHASE),
        lambda: Objective(block, no_loss, no_loss, ClassLabels(2))(
            plain_student, None, plain_heads, target, plain_pseudo, PHASE
        ),
    ):
        torch.manual_seed(3)
        terms.append(compute())
    region, classes = terms
    assert region["consistency"] > 0 and region["cps"] > 0
    for name in ("consistency", "cps", "loss"):
        torch.testing.assert_close(region[name], classes[name])


# ------------------------------------------------------------------ several regions


def test_regions_are_independent_of_each_other():
    block = settings(cps=False, confidence_threshold=0.5)
    logits = torch.randn(4, 2, *GRID)
    pseudo = region_pseudo_labels(torch.randn(2, 2, *GRID))
    heads = Heads((8, 6, 4), 2, 3, block, regions=True)

    def consistency(chosen) -> torch.Tensor:
        student = StudentPass.split(logits[:, chosen], features(), 2)
        part = PseudoLabels(pseudo.labels[:, chosen], pseudo.confidence[:, chosen])
        objective = RegionObjective(block, no_loss, no_loss, regions(len(chosen)))
        return objective(student, None, heads, torch.zeros(2, len(chosen), *GRID).bool(), part, PHASE)["consistency"]

    torch.testing.assert_close(consistency([0, 1]), (consistency([0]) + consistency([1])) / 2)


def test_the_dense_convolution_of_all_regions_runs_once():
    """At full resolution it costs as much as a decoder stage, and its output is kept for the backward pass."""
    block = settings(representation_kernel=3, cps_confidence=0.5)
    heads, calls = Heads((8, 6, 4), 3, 3, block, regions=True), []
    heads.representation.dense.register_forward_hook(lambda *_: calls.append(1))
    pseudo = region_pseudo_labels(torch.randn(2, 3, *GRID))
    student = StudentPass.split(torch.randn(4, 3, *GRID), features(), 2)
    target = torch.randint(0, 2, (2, 3, *GRID)).bool()
    terms = RegionObjective(block, no_loss, no_loss, regions(3))(student, None, heads, target, pseudo, PHASE)
    assert terms["cps"] > 0 and len(calls) == 1


def test_the_loss_of_fully_trusted_pseudo_labels_is_nnunets():
    loss = DC_and_BCE_loss({}, {"batch_dice": False, "do_bg": True, "smooth": 1e-5, "ddp": False})
    logits, labels = torch.randn(2, 3, *GRID), torch.randint(0, 2, (2, 3, *GRID))
    ours = build_pseudo_label_loss(loss, regions=True, setting="nnunet")
    torch.testing.assert_close(ours(logits, labels, torch.ones(2, 3, *GRID)), loss(logits, labels))
    half = torch.ones(2, 3, *GRID)
    half[:, :, 2:] = 0
    coarse = F.interpolate(logits, (2, 2, 2))
    deep = RegionPseudoLabelLoss(loss.dc, resolution_weights=(0.5, 0.5))([logits, coarse], labels, half)
    assert torch.isfinite(deep)
    other = logits.clone()
    other[:, :, 2:] = 9
    torch.testing.assert_close(ours(logits, labels, half), ours(other, labels, half))


def test_the_target_of_regions_has_its_ignored_voxels_at_the_end():
    target = torch.zeros(1, 3, *GRID, dtype=torch.bool)
    target[:, 0, :2], target[:, 2, 3] = True, True
    known = RegionLabels(regions(2)).of_target(target)
    assert known.labels[:, 0, :2].all() and not known.labels[:, 1].any()
    assert (known.confidence[:, :, 3] == 0).all() and (known.confidence[:, :, :3] == 1).all()
    assert (RegionLabels(regions(3)).of_target(target).confidence == 1).all()


def test_known_labels_lie_in_every_region_they_belong_to():
    pseudo = region_pseudo_labels(torch.full((1, 2, 4), -0.1))
    known = torch.tensor([[-1, 0, 1, 2]])
    mixed = RegionLabels(label_values([[1, 2], 2])).with_known(pseudo, known)
    assert mixed.labels.tolist() == [[[0, 0, 1, 1], [0, 0, 0, 1]]]
    assert (mixed.confidence[..., 1:] == 1).all() and (mixed.confidence[..., 0] < 1).all()


def test_pseudo_labels_of_regions_take_on_the_geometry_of_the_strong_view():
    pseudo = region_pseudo_labels(torch.randn(3, 2, *GRID))
    geometry = StrongGeometry.draw(3, GRID, 4.0, 1.0, (0, 1, 2), np.random.default_rng(0))
    moved = pseudo.warped_by(geometry)
    for region in range(2):
        alone = PseudoLabels(pseudo.labels[:, region], pseudo.confidence[:, region]).warped_by(geometry)
        assert torch.equal(moved.labels[:, region], alone.labels)


def test_class_thresholds_need_classes():
    with pytest.raises(UserError, match="class_thresholds"):
        RegionObjective(settings(class_thresholds=True), no_loss, no_loss, regions(2))
    assert RegionObjective(settings(), no_loss, no_loss, regions(9)).class_thresholds is None


def test_values_of_regions_are_written_one_over_the_other():
    """As nnU-Net's label manager writes them, wherever one region is sure."""
    regions = torch.tensor([[0.99, 0.99, 0.01], [0.01, 0.99, 0.01]])
    classes = class_probabilities(regions, [2, 1])
    torch.testing.assert_close(classes.sum(0), torch.ones(3))
    assert classes.argmax(0).tolist() == [2, 1, 0]


def contrasts_of(monkeypatch, logits, target, pseudo) -> list[dict]:
    """Arguments of CPS for each of two regions."""
    names = ("represent", "labels", "valid", "uncertain", "num_classes", "prototypes")
    given = []
    monkeypatch.setattr(
        objective_module,
        "cooperative_positive_supervision",
        lambda *args: given.append(dict(zip(names, args, strict=False))) or torch.zeros(()),
    )
    block = settings(cps_confidence=0.6, anchor_uncertainty=0.5)
    heads = Heads((8, 6, 4), 2, 3, block, regions=True)
    student = StudentPass.split(logits, features(), 2)
    RegionObjective(block, no_loss, no_loss, regions(2))(student, None, heads, target, pseudo, PHASE)
    assert all(torch.equal(g["prototypes"], heads.dim.prototypes[2 * i : 2 * i + 2]) for i, g in enumerate(given))
    return given


def test_cps_sees_each_region_with_its_own_prototypes_doubts_and_known_voxels(monkeypatch):
    """The prototypes of outside and inside of a region follow each other; ignored voxels are in no region's problem."""
    logits, target = torch.randn(4, 2, *GRID), torch.randint(0, 2, (2, 3, *GRID)).bool()
    pseudo = region_pseudo_labels(torch.randn(2, 2, *GRID))
    given = contrasts_of(monkeypatch, logits, target, pseudo)
    assert len(given) == 2
    for region, arguments in enumerate(given):
        labels = torch.cat([target[:, region].long(), pseudo.labels[:, region]])
        valid = torch.cat([~target[:, 2], pseudo.confidence[:, region] >= 0.6])
        inside = torch.sigmoid(logits[:, region])
        assert torch.equal(arguments["labels"], labels.flatten())
        assert torch.equal(arguments["valid"], valid.flatten())
        assert torch.equal(arguments["uncertain"], (torch.where(labels == 1, inside, 1 - inside) < 0.5).flatten())
