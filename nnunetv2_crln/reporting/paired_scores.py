"""Pair the scores that two models have for the same cases, and test their difference over all folds together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnunetv2_crln.evaluation.comparison import paired_difference
from nnunetv2_crln.reporting.fold import Fold

EvaluationPair = tuple[Mapping, Mapping]
"""Results of nnUNetv2_crln_evaluate: the model's and the baseline's."""
CaseDice = tuple[str, Mapping[str, float], Mapping[str, float]]
"""Name of a case, and the Dice of each class: the model's and the baseline's."""


@dataclass(frozen=True)
class PairedFold:
    """A fold of the model and the fold of the baseline that it is compared with.

    Attributes:
        fold: Fold of the model.
        baseline: Fold of the baseline.
    """

    fold: Fold
    baseline: Fold

    @property
    def validates_on_training_cases(self) -> bool:
        """True if one of the two is fold all: its validation scores are no match for those of held-out cases."""
        return "fold_all" in (self.fold.folder.name, self.baseline.folder.name)

    def evaluations(self) -> dict[str, EvaluationPair]:
        """Pair the evaluations inside the two folders by the name of their folder, without those of training cases."""
        theirs = {path.parent.name: summary for path, summary in self.baseline.evaluations.items()}
        pairs: dict[str, EvaluationPair] = {
            path.parent.name: (summary, theirs[path.parent.name])
            for path, summary in self.fold.evaluations.items()
            if path.parent.name in theirs
        }
        if self.validates_on_training_cases:
            pairs.pop("validation", None)
        return pairs

    def validation(self) -> list[CaseDice]:
        """Pair the Dice of nnU-Net's validation; empty if one of the two validates on its training cases."""
        ours, theirs = _validation_dice(self.fold), _validation_dice(self.baseline)
        if self.validates_on_training_cases:
            return []
        return [(case, ours[case], theirs[case]) for case in ours if case in theirs]


def foreground_difference(
    pairs: Sequence[PairedFold], given: Sequence[EvaluationPair]
) -> tuple[dict[str, float], str] | None:
    """Test the difference in mean foreground Dice on the best source of scores that both models have.

    The sources are, in this order: an evaluation that the user has given, evaluations inside the folders of all folds,
    and nnU-Net's validation of all folds.

    Args:
        pairs: Folds of both models.
        given: Evaluations that the user has given.

    Returns:
        Result of :func:`~nnunetv2_crln.evaluation.comparison.paired_difference`, and the kind of cases; None if no
        held-out case was scored by both.
    """
    inside = [pair.evaluations() for pair in pairs]
    names = [name for name in inside[0] if all(name in evaluations for evaluations in inside)] if inside else []
    sources = [
        *(([_evaluated_dice(pair)], "evaluated") for pair in given),
        *(([_evaluated_dice(evaluations[name]) for evaluations in inside], "evaluated") for name in names),
        ([pair.validation() for pair in pairs], "validation"),
    ]
    for folds, kind in sources:
        _, ours, theirs = dice_of_cases(case for fold in folds for case in fold)
        if ours.size and (test := paired_difference(ours, theirs))["n"]:
            return test, kind
    return None


def dice_of_cases(cases: Iterable[CaseDice]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Arrange the Dice of both models as arrays; a case that several folds have scored has the mean of its scores.

    Args:
        cases: Dice of both models by case.

    Returns:
        Keys of the classes that both models have, and the Dice of each model, (cases, classes), NaN where undefined.
    """
    cases = list(cases)
    classes = sorted({key for _, ours, theirs in cases for key in ours if key in theirs})
    by_case: dict[str, list] = {}
    for case, *sides in cases:
        by_case.setdefault(case, []).append([[side.get(key, math.nan) for key in classes] for side in sides])
    values = np.array([np.mean(scores, axis=0) for scores in by_case.values()]).reshape(len(by_case), 2, len(classes))
    return classes, values[:, 0], values[:, 1]


def _evaluated_dice(pair: EvaluationPair) -> list[CaseDice]:
    if pair[0]["classes"] != pair[1]["classes"]:  # the section that shows both says so
        return []
    ours, theirs = (
        {case: {name: metrics["Dice"] for name, metrics in entry["metrics"].items()} for case, entry in cases.items()}
        for cases in (summary["cases"] for summary in pair)
    )
    return [(case, ours[case], theirs[case]) for case in ours if case in theirs]


def _validation_dice(fold: Fold) -> dict[str, dict[str, float]]:
    """Return the Dice of nnU-Net's validation by case and class."""
    return {
        Path(entry["reference_file"]).name: {key: float(metrics["Dice"]) for key, metrics in entry["metrics"].items()}
        for entry in (fold.validation or {}).get("metric_per_case", [])
    }
