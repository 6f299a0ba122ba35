"""Partly annotated cases: targets and pseudo labels against a reference that looks at one voxel after the other."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.training.dataloading.joined_cases import JoinedCases
from nnunetv2_crln.training.method.known_labels import exclude_classes, impossible_classes
from nnunetv2_crln.training.method.pseudo_labels import PseudoLabels
from nnunetv2_crln.training.partly_annotated import PartlyAnnotated

CLASSES, IGNORE = 4, 4
ANNOTATED = {"only_1": frozenset({1}), "all_but_1": frozenset({2, 3})}
CASES = np.array(["complete", "only_1", "all_but_1", "unlabelled"])


def partly(declared: bool = True) -> PartlyAnnotated:
    return PartlyAnnotated(ANNOTATED, CLASSES, IGNORE, declared)


def labels_of_all_cases(generator: torch.Generator) -> torch.Tensor:
    """Labels that hold what their case may hold, with ignored voxels and padding."""
    grid = (3, 4, 5)
    allowed = [[0, 1, 2, 3, IGNORE, -1], [0, 1, IGNORE, -1], [0, 2, 3, IGNORE, -1], [0, -1]]
    rows = [torch.tensor(values)[torch.randint(len(values), grid, generator=generator)] for values in allowed]
    return torch.stack(rows)[:, None].to(torch.int16)


def expected_pseudo_label(logits: np.ndarray, label: int, case: str) -> tuple[int, float]:
    """Label and confidence of one voxel, by the meaning of the words."""
    if case in ("complete", *ANNOTATED) and 0 <= label < CLASSES and not (label == 0 and case in ANNOTATED):
        return label, 1.0
    excluded = ANNOTATED[case] if case in ANNOTATED and label == 0 else frozenset()
    possible = [c for c in range(CLASSES) if c not in excluded]
    odds = {c: float(np.exp(np.float64(logits[c]))) for c in possible}
    best = max(possible, key=odds.__getitem__)
    return best, odds[best] / sum(odds.values())


@pytest.mark.parametrize("seed", range(3))
def test_pseudo_labels_are_those_of_the_reference(seed):
    generator = torch.Generator().manual_seed(seed)
    target = labels_of_all_cases(generator)
    logits = 3 * torch.randn(len(CASES), CLASSES, *target.shape[2:], generator=generator)
    labelled = SimpleNamespace(identifiers=["complete", *ANNOTATED])
    joined = JoinedCases(SimpleNamespace(identifiers=["unlabelled"]), labelled, IGNORE, partly())
    batch = joined.known_labels(target, CASES)
    known, annotated = batch["unlabelled_known"], batch["unlabelled_annotated"]
    pseudo = PseudoLabels.from_logits(exclude_classes(logits, impossible_classes(known, annotated)))
    pseudo = pseudo.replaced_by(known, known >= 0)
    for place in np.ndindex(*known.shape):
        case, voxel = str(CASES[place[0]]), place[1:]
        label, confidence = expected_pseudo_label(
            logits[(place[0], slice(None), *voxel)].numpy(), int(target[(place[0], 0, *voxel)]), case
        )
        assert int(pseudo.labels[place]) == label
        assert float(pseudo.confidence[place]) == pytest.approx(confidence, rel=1e-5)


@pytest.mark.parametrize("deep", [False, True])
def test_background_of_partly_annotated_cases_alone_is_hidden(deep):
    target = labels_of_all_cases(torch.Generator().manual_seed(0)).clamp(min=0)
    expected = target.clone()
    for sample, case in enumerate(CASES):
        for voxel in np.ndindex(*target.shape[2:]):
            if case in ANNOTATED and target[(sample, 0, *voxel)] == 0:
                expected[(sample, 0, *voxel)] = IGNORE
    batch = {"keys": CASES, "target": [target.clone(), target[..., ::2].clone()] if deep else target.clone()}
    partly().hide_background(batch)
    found = batch["target"] if deep else [batch["target"]]
    assert torch.equal(found[0], expected)
    assert not deep or torch.equal(found[1], expected[..., ::2])
    assert (expected != target).any()


def test_without_an_ignore_label_of_the_dataset_complete_cases_do_not_join():
    unlabelled, labelled = SimpleNamespace(identifiers=["u"]), SimpleNamespace(identifiers=["complete", "only_1"])
    assert JoinedCases(unlabelled, labelled, IGNORE, partly(declared=False)).identifiers == ["u", "only_1"]
    assert JoinedCases(unlabelled, labelled, IGNORE, partly(declared=True)).identifiers == ["u", "complete", "only_1"]
    all_complete = PartlyAnnotated({}, CLASSES, IGNORE, declared=False)  # an entry whose cases are all completed by now
    assert JoinedCases(unlabelled, labelled, IGNORE, all_complete).identifiers == ["u"]


@pytest.mark.parametrize(
    ("annotated", "declared", "unknown"), [({}, False, False), ({}, True, True), (ANNOTATED, False, True)]
)
def test_labelled_cases_have_unknown_voxels_if_something_is_ignored(annotated, declared, unknown):
    assert PartlyAnnotated(annotated, CLASSES, IGNORE, declared).has_unknown_voxels == unknown


def test_logits_without_impossible_classes_are_untouched():
    logits = torch.randn(1, 2, 3)
    assert exclude_classes(logits, None) is logits
    assert impossible_classes(None, None) is None


def test_validation_knows_complete_cases_alone():
    assert partly().split(0, ["complete", "only_1"], ["other", "all_but_1"]) == (["complete", "only_1"], ["other"])
    for training, validation, kind in ((["only_1"], ["other"], "training"), (["complete"], ["only_1"], "validation")):
        with pytest.raises(UserError, match=f"Fold 0 has no {kind} case in which all classes"):
            partly().split(0, training, validation)
