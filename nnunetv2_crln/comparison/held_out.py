"""Find the cases on which a comparison is evaluated, and warn if they are few."""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.evaluation.comparison import FEWEST_FOR_A_TEST
from nnunetv2_crln.layout import NUM_FOLDS, SPLITS_FILE
from nnunetv2_crln.preprocessed_dataset.splits import read_splits, usual_split, validated_on_training_cases

FEW = 20


def held_out_cases(
    preprocessed: Path, labelled: Sequence[str], folds: Sequence[int], leave_out: Container[str] = ()
) -> dict[int, list[str]]:
    """Return the validation cases of some folds, from splits_final.json or from the split that nnU-Net will make.

    Args:
        preprocessed: ``nnUNet_preprocessed/DatasetXXX_Name``.
        labelled: Labelled cases.
        folds: Numbers of the folds.
        leave_out: Cases whose labels are not complete.

    Returns:
        Names of the cases by fold.

    Raises:
        UserError: The file is damaged, or a fold does not exist, has no validation case or trains on one.
    """
    file = preprocessed / SPLITS_FILE
    if file.is_file():
        split = read_splits(preprocessed)
    elif len(labelled) >= NUM_FOLDS:
        split = usual_split(labelled)
    else:
        raise UserError(
            f"{len(labelled)} labelled cases are too few for nnU-Net's {NUM_FOLDS} folds, and {file} does not exist. "
            "Write that file, with some labelled cases held out, to compare methods on them."
        )
    if wrong := [fold for fold in folds if not 0 <= fold < len(split)]:
        raise UserError(f"-f {wrong[0]}: {file} has the folds 0 to {len(split) - 1}.")
    for fold in folds:
        if text := validated_on_training_cases(preprocessed, fold, split[fold]["train"], split[fold]["val"]):
            raise UserError(f"{text} Rename the folders of models that were trained with these lists.")
    held_out = {fold: [case for case in split[fold]["val"] if case not in leave_out] for fold in folds}
    if empty := [fold for fold in folds if not held_out[fold]]:
        raise UserError(
            f"-f {empty[0]}: this fold of {file} holds out no completely labelled case. Nothing could be compared."
        )
    return held_out


def warn_about_few(number: int, all_folds: bool) -> str:
    """Describe what a small number of held-out cases can show.

    Args:
        number: Number of held-out cases.
        all_folds: True if all folds are already used.

    Returns:
        A warning; empty if there are enough cases.
    """
    more = "" if all_folds else " More folds (-f 0 1 2 3 4) hold out more cases."
    if number < FEWEST_FOR_A_TEST:
        return (
            f"{number} held-out case(s) cannot tell two methods apart: even if one is better on every case, "
            f"the signed-rank test does not fall below p = 0.05.{more}"
        )
    if number < FEW:
        return f"With {number} held-out cases only large differences show. Look at the intervals.{more}"
    return ""
