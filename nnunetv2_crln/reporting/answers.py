"""Answer the first questions of a reader in the panel at the top of the report, each in a sentence."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from PIL import Image

from nnunetv2_crln.evaluation.comparison import FEWEST_FOR_A_TEST
from nnunetv2_crln.layout import CURVE_PREFIX, dataset_number, fold_name, model_name
from nnunetv2_crln.reporting.blocks import Answer, Picture, code
from nnunetv2_crln.reporting.curves import finite_points
from nnunetv2_crln.reporting.figures import bytes_uri
from nnunetv2_crln.reporting.fold import Fold
from nnunetv2_crln.reporting.overlay import DPI, PANEL_INCHES
from nnunetv2_crln.reporting.paired_scores import EvaluationPair, PairedFold, foreground_difference
from nnunetv2_crln.reporting.remarks import FEWEST_EPOCHS, remarks
from nnunetv2_crln.reporting.section_groups import far_groups
from nnunetv2_crln.utilities.advice import command_line

THUMBNAILS = 3
THUMBNAIL_WIDTH = 360
THUMBNAIL_PANELS = 4
GOOD_PSEUDO_LABELS = 0.7


def answers(fold: Fold, pairs: Sequence[PairedFold], given: Sequence[EvaluationPair]) -> list[Answer]:
    """Answer the first questions about a model.

    Args:
        fold: First fold of the model, whose pseudo labels are described.
        pairs: Folds of the model that have one of the baseline beside them.
        given: Evaluations of model and baseline that the user has given.

    Returns:
        One answer per question, in the order of reading.
    """
    return [did_it_help(fold, pairs, given), pseudo_labels(fold), annotate_next(fold), what_to_change(fold)]


def supervised_trainer(trainer: str) -> str:
    """Return the trainer that trains the labelled cases alone, as long as the given one.

    Args:
        trainer: Name of a trainer of this package.

    Example:
        >>> supervised_trainer("nnUNetTrainer_CRLN_noCPS_short"), supervised_trainer("nnUNetTrainer_MeanTeacher")
        ('nnUNetTrainer_short', 'nnUNetTrainer')
        >>> supervised_trainer("nnUNetTrainer_CRLN_NoMirroring")
        'nnUNetTrainerNoMirroring'
    """
    if trainer.endswith("_NoMirroring"):
        return "nnUNetTrainerNoMirroring"
    length = re.search(r"_(short|article|demo|\d+epochs?)$", trainer)
    return f"nnUNetTrainer{length[0] if length else ''}"


def did_it_help(fold: Fold, pairs: Sequence[PairedFold], given: Sequence[EvaluationPair]) -> Answer:
    """Compare the mean Dice of all folds with the baseline's; without a baseline, explain how to get one.

    Args:
        fold: First fold of the model.
        pairs: Folds of the model that have one of the baseline beside them.
        given: Evaluations of model and baseline that the user has given.

    Returns:
        The answer.
    """
    question = "Did the unlabelled data help?"
    if not pairs:
        number = dataset_number(fold.plans.get("dataset_name", ""))
        plans, name = fold.plans.get("plans_name", "nnUNetPlans"), fold_name(fold.folder)
        trainer = supervised_trainer(fold.trainer)
        other = fold.folder.parent.with_name(model_name(trainer, plans, fold.configuration))
        report = command_line("nnUNetv2_crln_report", fold.folder.parent, "--baseline", other)
        again = "Train the labelled cases alone, then make this report again with the result:"
        if name == "all":
            report += " --evaluation EVALUATION --baseline_evaluation BASELINE_EVALUATION"
            again = (
                "Train the labelled cases alone, predict held-out cases with both models and evaluate both with "
                "nnUNetv2_crln_evaluate, because fold all validates on its training cases. Then make this report again "
                "with the two summary_crln.json:"
            )
        return Answer(
            question,
            "Unknown: nothing to compare with",
            "open",
            [
                again,
                code(command_line("nnUNetv2_train", number, fold.configuration, name, "-tr", trainer, "-p", plans)),
                code(report),
            ],
        )
    found = foreground_difference(pairs, given)
    if found is None:
        return Answer(question, "Unknown: no held-out case was scored by both models", "open")
    test, where = found
    difference, low, high = (100 * test[key] for key in ("difference", "ci_low", "ci_high"))
    enough = test["n"] >= FEWEST_FOR_A_TEST
    verdict, state = "Not clear", "open"
    if enough and low > 0:
        verdict, state = "Yes", "good"
    elif enough and high < 0:
        verdict, state = "No", "bad"
    # One case has no interval.
    interval = "" if math.isnan(low) else f"95 % interval {low:+.1f} to {high:+.1f}, "
    cases = f"{test['n']} {where} case{'s' if test['n'] > 1 else ''}"
    means = f"{100 * test['mean_a']:.1f} against {100 * test['mean_b']:.1f} of {pairs[0].baseline.trainer}"
    details = [f"{means}; {interval}{cases}."]
    if not enough:
        details.append(f"Fewer than {FEWEST_FOR_A_TEST} cases cannot tell two models apart, whatever their scores.")
    return Answer(question, f"{verdict}: {difference:+.1f} Dice points", state, details)


def pseudo_labels(fold: Fold) -> Answer:
    """Describe the quality of the pseudo labels, or the teacher's confidence if there are no hidden labels."""
    question = "Are the pseudo labels good?"
    measured, raw = (_last(fold, f"{CURVE_PREFIX}pseudo_dice{kind}") for kind in ("", "_raw"))
    if not math.isnan(measured):
        details = [f"Dice {measured:.3f} against the hidden labels of the monitored patches; {raw:.3f} unrectified."]
        good = measured >= GOOD_PSEUDO_LABELS
        return Answer(question, "Yes" if good else "Not yet", "good" if good else "bad", details)
    confident, expected = _last(fold, f"{CURVE_PREFIX}confident"), _expected_dice(fold)
    details = []
    if not math.isnan(confident):
        details.append(f"The teacher is confident in {confident:.0%} of the voxels.")
    if not math.isnan(expected):
        details.append(f"It expects a Dice of {expected:.2f} (median case), which is usually too high.")
    verdict = "Not measured: no hidden labels (labelsUl)" if details else "Unknown: nothing was recorded"
    return Answer(question, verdict, "open", details)


def _last(fold: Fold, key: str) -> float:
    values = finite_points(fold.logging, key)[1] if key in fold.logging else []
    return values[-1] if values else math.nan


def _expected_dice(fold: Fold) -> float:
    cases = (fold.quality or {}).get("cases", {})
    values = [entry["expected_dice"] for entry in cases.values() if entry.get("expected_dice") is not None]
    return median(values) if values else math.nan


def annotate_next(fold: Fold) -> Answer:
    """Name the cases in which the teacher is least confident."""
    question = "What to annotate next?"
    cases = list((fold.quality or {}).get("cases", {}))
    if not cases:
        return Answer(question, "Known at the end of the training", "open")
    shown = [case for case in cases if case in fold.overlays][:THUMBNAILS]
    previews = {case: overlay_preview(fold.overlays[case][max(fold.overlays[case])]) for case in shown}
    pictures = [Picture(preview, case, code(case)) for case, preview in previews.items() if preview]
    verdict = ", ".join(cases[:THUMBNAILS])
    details = [
        f"The teacher is least confident in these of {len(cases)} cases. All of them are ranked below. Where it was "
        "measured, annotating such cases first taught no more than annotating random ones."
    ]
    if pictures:
        details.append("Pictures exist of the monitored cases; the least confident of them:")
    return Answer(question, verdict, "open", details, pictures)


def overlay_preview(picture: Path) -> str:
    """Return a small copy of the left part of an overlay, from the whole slice to the rectified pseudo label.

    Args:
        picture: PNG file of an overlay.

    Returns:
        Data URI; empty if the file is damaged.
    """
    buffer = io.BytesIO()
    try:
        with Image.open(picture) as image:
            width = min(image.width, round(THUMBNAIL_PANELS * PANEL_INCHES * DPI))
            small = image.convert("RGB").crop((0, 0, width, image.height))
    except (OSError, SyntaxError):  # PIL's errors for what is no picture, or a damaged one
        return ""
    small.thumbnail((THUMBNAIL_WIDTH, 10 * THUMBNAIL_WIDTH))
    small.save(buffer, "PNG")
    return bytes_uri(buffer.getvalue())


def what_to_change(fold: Fold) -> Answer:
    """Repeat the first remarks on groups of cases and on the curves."""
    question = "What to change?"
    found = [*far_groups(fold), *remarks(fold.logging)]
    if found:
        return Answer(question, "See the remarks", "bad", found[:2])
    if len(fold.logging.get(f"{CURVE_PREFIX}supervised", [])) < FEWEST_EPOCHS:
        return Answer(question, "Too early to tell", "open", [f"Fewer than {FEWEST_EPOCHS} epochs were trained."])
    return Answer(question, "Nothing stands out", "good", ["The curves look as they should."])
