"""Check nnU-Net's ``splits_final.json``: which labelled cases a fold trains on, validates on, and leaves out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from nnunetv2.utilities.crossval_split import generate_crossval_split

from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.layout import NUM_FOLDS, SPLITS_FILE
from nnunetv2_crln.utilities.json_files import read_json, write_json
from nnunetv2_crln.utilities.names import with_hint

_WAY_OUT = "Correct the file, or remove it to let nnU-Net make a new split."


def checked_split(
    folder: str | Path,
    fold: int | str,
    cases: Sequence[str],
    read: Callable[[], tuple[Sequence[str], Sequence[str]]],
    print_line: Callable[[str], None],
    preprocess_command: Callable[[Collection[str]], str] = lambda _: "",
) -> tuple[Sequence[str], Sequence[str]]:
    """Return nnU-Net's training and validation cases of a fold after checking them, and log what the fold leaves out.

    Args:
        folder: ``nnUNet_preprocessed/DatasetXXX_Name``.
        fold: Fold of the training, or ``"all"``.
        cases: Names of the preprocessed labelled cases.
        read: nnU-Net's own ``do_split``.
        print_line: Function that prints a line into the training's log.
        preprocess_command: Returns the command that preprocesses some cases; empty if they are no labelled cases.

    Returns:
        Training cases, and validation cases.

    Raises:
        UserError: The file is damaged, lacks the fold, or names cases that do not exist, or a list is empty.
    """
    if fold != "all":
        make_missing_split(folder, cases)
        refuse_missing_fold(folder, fold)
    with explaining_split_errors(folder):
        training, validation = read()
    refuse_unknown_cases(folder, fold, [*training, *validation], cases, preprocess_command)
    refuse_empty_lists(folder, fold, training, validation)
    if left_out := sorted(set(cases) - {*training, *validation}):
        print_line(f"CRLN: {Path(folder) / SPLITS_FILE}, fold {fold}, {_leaves_out(left_out, len(cases))}")
    # Fold 'all' trains and validates on the same cases by design.
    if fold != "all" and (text := validated_on_training_cases(folder, fold, training, validation)):
        print_line(f"WARNING: {text}")
    return training, validation


def validated_on_training_cases(
    folder: str | Path, fold: int | str, training: Collection[str], validation: Collection[str]
) -> str:
    """Describe the cases that a fold trains on and validates on: scores on them say nothing about new images.

    Args:
        folder: Folder of ``splits_final.json``, for the message.
        fold: Number of the fold.
        training: Training cases.
        validation: Validation cases.

    Returns:
        A text with the way out; empty if there are none.
    """
    both = sorted({*training} & {*validation})
    if not both:
        return ""
    return (
        f"{Path(folder) / SPLITS_FILE}, fold {fold}, has {len(both)} case(s) both in 'train' and in 'val': "
        f"{listing(both)}. Scores on cases that a model was trained on are too good: remove them from one of the lists."
    )


def unused_cases(folder: str | Path, cases: Sequence[str]) -> str:
    """Describe the labelled cases that no fold of an existing split uses, such as those labelled after it was made.

    Args:
        folder: ``nnUNet_preprocessed/DatasetXXX_Name``.
        cases: Names of the labelled cases.

    Returns:
        A text; empty if there are none or no split.

    Raises:
        UserError: The file is damaged.
    """
    used = {case for split in read_splits(folder) for case in (*split["train"], *split["val"])}
    left_out = sorted(set(cases) - used)
    file = Path(folder) / SPLITS_FILE
    return f"{file}, every fold, {_leaves_out(left_out, len(cases))}" if file.is_file() and left_out else ""


def cases_of_other_folds(folder: str | Path, cases: Sequence[str]) -> list[str]:
    """Describe the labelled cases that one fold of an existing split uses and another one leaves out.

    Args:
        folder: ``nnUNet_preprocessed/DatasetXXX_Name``.
        cases: Names of the labelled cases.

    Returns:
        One text for all folds that leave out the same cases.

    Raises:
        UserError: The file is damaged.
    """
    splits = [{*split["train"], *split["val"]} for split in read_splits(folder)]
    used = set(cases) & set().union(*splits)
    folds: dict[tuple[str, ...], list[str]] = {}
    for fold, split in enumerate(splits):
        if left_out := tuple(sorted(used - split)):
            folds.setdefault(left_out, []).append(str(fold))
    file = Path(folder) / SPLITS_FILE
    return [f"{file}, fold {listing(which)}, {_leaves_out(names, len(cases))}" for names, which in folds.items()]


def _leaves_out(left_out: Sequence[str], total: int) -> str:
    return (
        f"leaves out {len(left_out)} of {total} labelled case(s): {listing(left_out)}. They are neither in 'train' nor "
        "in 'val'; add them there if they should be used."
    )


def read_splits(folder: str | Path) -> list[dict]:
    """Read ``splits_final.json``.

    Args:
        folder: Folder of the file.

    Returns:
        Lists ``"train"`` and ``"val"`` of each fold; empty without the file.

    Raises:
        UserError: The file is damaged.
    """
    if not (Path(folder) / SPLITS_FILE).is_file():
        return []
    with explaining_split_errors(folder):
        splits = read_json(Path(folder) / SPLITS_FILE)
        if not isinstance(splits, list):
            raise TypeError(f"it holds a {type(splits).__name__}")
        for split in splits:
            lists = [split[key] for key in ("train", "val")]
            if not all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists):
                raise TypeError("'train' and 'val' must be lists of names")
    return splits


def make_missing_split(folder: str | Path, cases: Sequence[str]) -> None:
    """Write nnU-Net's own split, unless a split exists.

    nnU-Net would write the same content, but not in one step, and trainings of other folds may start at this moment.

    Args:
        folder: ``nnUNet_preprocessed/DatasetXXX_Name``.
        cases: Names of the labelled cases.

    Raises:
        UserError: The dataset has fewer labelled cases than folds.
    """
    file = Path(folder) / SPLITS_FILE
    if file.is_file():
        return
    if len(cases) < NUM_FOLDS:
        raise UserError(
            f"{file.parent.name} has {len(cases)} labelled cases, too few for nnU-Net's {NUM_FOLDS}-fold "
            f"cross-validation. Train with fold 'all', or write your own {file}."
        )
    write_json(usual_split(cases), file)


def usual_split(cases: Sequence[str]) -> list[dict]:
    """Return the split that nnU-Net makes of the labelled cases by itself."""
    return generate_crossval_split(sorted(cases), seed=12345, n_splits=NUM_FOLDS)


def refuse_missing_fold(folder: str | Path, fold: int | str) -> None:
    """Check that the split has this fold; nnU-Net would draw training and validation cases at random.

    Args:
        folder: ``nnUNet_preprocessed/DatasetXXX_Name``.
        fold: Number of the fold.

    Raises:
        UserError: The split does not have it, or is damaged.
    """
    number = len(read_splits(folder))
    if not 0 <= int(fold) < number:
        has = f"the folds 0 to {number - 1}" if number > 1 else "fold 0 alone" if number else "no fold"
        raise UserError(
            f"{Path(folder) / SPLITS_FILE} has {has}, not fold {fold}. nnU-Net would draw the validation cases at "
            "random. Train one of the folds in the file, add yours to it, or train with fold 'all'."
        )


@contextlib.contextmanager
def explaining_split_errors(folder: str | Path) -> Iterator[None]:
    """Turn the errors of a damaged splits_final.json into one that names the file.

    Args:
        folder: ``nnUNet_preprocessed/DatasetXXX_Name``.

    Yields:
        Nothing; the split is read in the ``with`` block.

    Raises:
        UserError: The ``with`` block raised ValueError, KeyError or TypeError.
    """
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        try:
            read_json(Path(folder) / SPLITS_FILE)
        except (OSError, ValueError) as unreadable:
            reason = str(unreadable)
        raise UserError(
            f"{Path(folder) / SPLITS_FILE} is damaged ({reason}). Expected a list of objects with 'train' and 'val'. "
            f"{_WAY_OUT}"
        ) from error


def refuse_unknown_cases(
    folder: str | Path,
    fold: int | str,
    named: Sequence[str],
    cases: Sequence[str],
    preprocess_command: Callable[[Collection[str]], str] = lambda _: "",
) -> None:
    """Check that all cases of a fold are preprocessed.

    Their names are joined to the folder of the data, and a file outside that folder must not be opened.

    Args:
        folder: ``nnUNet_preprocessed/DatasetXXX_Name``.
        fold: Fold of the training.
        named: Names of the fold's training and validation cases.
        cases: Names of the preprocessed cases.
        preprocess_command: Returns the command that preprocesses some cases; empty if they are no labelled cases.

    Raises:
        UserError: Cases of the fold are not preprocessed; the message lists them.
    """
    if unknown := sorted(set(named) - set(cases)):
        named_unknown = [with_hint(str(case), cases) for case in unknown]
        command = preprocess_command(unknown)
        # A new split would change the validation cases of every fold.
        way_out = f"They are in imagesTr; preprocess them: {command}" if command else _WAY_OUT
        raise UserError(
            f"{Path(folder) / SPLITS_FILE}, fold {fold}, names {len(unknown)} case(s) that are not preprocessed: "
            f"{listing(named_unknown)}. {way_out}"
        )


def refuse_empty_lists(folder: str | Path, fold: int | str, training: Sequence[str], validation: Sequence[str]) -> None:
    """Check that a fold has training and validation cases; nnU-Net fails on an empty list with an error of NumPy.

    Args:
        folder: ``nnUNet_preprocessed/DatasetXXX_Name``.
        fold: Fold of the training.
        training: Training cases.
        validation: Validation cases.

    Raises:
        UserError: One of the lists is empty.
    """
    for key, kind, cases in (("train", "training", training), ("val", "validation", validation)):
        if not cases:
            raise UserError(
                f"{Path(folder) / SPLITS_FILE}, fold {fold}, has no {kind} case ('{key}' is empty). Name at least one "
                f"in '{key}', or train with fold 'all', which trains and validates on all labelled cases."
            )
