"""Folds of splits_final.json: what a training refuses, and which labelled cases are named as left out."""

import json
from types import SimpleNamespace

import pytest
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.preprocessed_dataset.splits import (
    cases_of_other_folds,
    checked_split,
    explaining_split_errors,
    make_missing_split,
    refuse_empty_lists,
    refuse_missing_fold,
    refuse_unknown_cases,
    unused_cases,
)

CASES = list("abcde")


def write(folder, *folds):
    """Write one fold for each pair of texts: training cases, validation cases; a case has one letter."""
    content = [{"train": list(training), "val": list(validation)} for training, validation in folds]
    (folder / "splits_final.json").write_text(json.dumps(content))


def test_the_split_is_nnunets_and_an_existing_one_stays(tmp_path):
    cases = [f"case_{i}" for i in range(7)]
    make_missing_split(tmp_path, cases)
    split = json.loads((tmp_path / "splits_final.json").read_text())
    assert len(split) == 5
    assert all(sorted(fold["train"] + fold["val"]) == cases for fold in split)
    (tmp_path / "splits_final.json").write_text("[]")
    make_missing_split(tmp_path, cases)
    assert (tmp_path / "splits_final.json").read_text() == "[]"


def test_too_few_cases_for_five_folds(tmp_path):
    with pytest.raises(UserError, match=r"has 4 labelled cases, too few .*5-fold.*'all'.*splits_final\.json"):
        make_missing_split(tmp_path, list("abcd"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("train"), TypeError("x")])
def test_a_damaged_split_is_named(tmp_path, error):
    with pytest.raises(UserError, match=r"splits_final\.json is damaged"), explaining_split_errors(tmp_path):
        raise error


def test_cases_outside_of_the_data_are_refused(tmp_path):
    refuse_unknown_cases(tmp_path, 0, ["a"], ["a", "b"])
    with pytest.raises(UserError, match=r"fold 3, names 1 case\(s\) that are not preprocessed: \.\./secret"):
        refuse_unknown_cases(tmp_path, 3, ["a", "../secret"], ["a", "b"])


def test_cases_that_are_only_not_preprocessed_need_no_new_split(tmp_path):
    def command(cases):
        return "the command" if set(cases) <= {"a", "b", "c"} else ""

    with pytest.raises(UserError, match=r": c\. They are in imagesTr; preprocess them: the command") as caught:
        refuse_unknown_cases(tmp_path, 0, ["a", "c"], ["a", "b"], command)
    assert "new split" not in str(caught.value)
    with pytest.raises(UserError, match="make a new split"):
        refuse_unknown_cases(tmp_path, 0, ["d", "c"], ["a", "b"], command)


@pytest.mark.parametrize(("fold", "text"), [(2, "has the folds 0 to 1, not fold 2"), (-1, "not fold -1")])
def test_a_fold_that_the_file_lacks_is_refused_instead_of_drawn(tmp_path, fold, text):
    write(tmp_path, ("abc", "de"), ("de", "abc"))
    refuse_missing_fold(tmp_path, 1)
    with pytest.raises(UserError, match=text) as caught:
        refuse_missing_fold(tmp_path, fold)
    assert "splits_final.json" in str(caught.value) and "at random" in str(caught.value)


def test_a_file_without_folds_or_with_one(tmp_path):
    write(tmp_path)
    with pytest.raises(UserError, match="has no fold, not fold 0"):
        refuse_missing_fold(tmp_path, 0)
    write(tmp_path, ("a", "b"))
    with pytest.raises(UserError, match="has fold 0 alone, not fold 4"):
        refuse_missing_fold(tmp_path, 4)


@pytest.mark.parametrize(
    "content",
    [
        '{"train": [], "val": []}',
        '[{"train": ["a"]}]',
        '[{"train": "a", "val": []}]',
        '[{"train": [0], "val": ["a"]}]',
        "[1]",
    ],
)
def test_another_structure_is_damage(tmp_path, content):
    (tmp_path / "splits_final.json").write_text(content)
    with pytest.raises(UserError, match=r"splits_final\.json is damaged \(\w+Error"):
        refuse_missing_fold(tmp_path, 0)


@pytest.mark.parametrize(("lists", "key"), [((["a"], []), "val"), (([], ["a"]), "train")])
def test_an_empty_list_is_named(tmp_path, lists, key):
    with pytest.raises(UserError, match=f"fold 1, has no .* case \\('{key}' is empty\\).*fold 'all'"):
        refuse_empty_lists(tmp_path, 1, *lists)


def test_what_a_training_leaves_out_is_logged(tmp_path):
    write(tmp_path, ("ab", "c"), ("abcd", "e"))
    lines = []
    assert checked_split(tmp_path, 0, CASES, lambda: (["a", "b"], ["c"]), lines.append) == (["a", "b"], ["c"])
    (line,) = lines
    assert "fold 0, leaves out 2 of 5 labelled case(s): d, e." in line
    checked_split(tmp_path, 1, CASES, lambda: (list("abcd"), ["e"]), lines.append)
    checked_split(tmp_path, "all", CASES, lambda: (CASES, CASES), lines.append)
    assert len(lines) == 1


def test_cases_of_no_fold_are_told_from_those_of_another_fold(tmp_path):
    assert not unused_cases(tmp_path, CASES) and not cases_of_other_folds(tmp_path, CASES)
    write(tmp_path, ("ab", "c"), ("abc", "d"), ("ab", "c"))
    assert "every fold, leaves out 1 of 5 labelled case(s): e." in unused_cases(tmp_path, CASES)
    (text,) = cases_of_other_folds(tmp_path, CASES)
    assert "fold 0, 2, leaves out 1 of 5 labelled case(s): d." in text
    write(tmp_path, ("abcd", "e"), ("abce", "d"))
    assert not unused_cases(tmp_path, CASES) and not cases_of_other_folds(tmp_path, CASES)


def test_a_missing_split_is_the_one_that_nnunets_trainer_would_write(tmp_path):
    """Whatever the order in which the cases are found."""
    cases = [f"case_{i:02d}" for i in range(13)]
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    for folder in (theirs, ours):
        folder.mkdir()
    stock = SimpleNamespace(
        fold=0,
        dataset_class=lambda *_, **__: SimpleNamespace(identifiers=cases),
        preprocessed_dataset_folder="",
        folder_with_segs_from_previous_stage=None,
        preprocessed_dataset_folder_base=str(theirs),
        print_to_log_file=lambda *_, **__: None,
    )
    nnUNetTrainer.do_split(stock)
    make_missing_split(ours, cases[::-1])
    written = [json.loads((folder / "splits_final.json").read_text()) for folder in (theirs, ours)]
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("training", "validation", "text"),
    [
        (["../secret"], ["a"], "names 1 case"),
        (["a"], ["../secret"], "names 1 case"),
        ([], ["a"], "'train' is empty"),
        (["a"], [], "'val' is empty"),
    ],
)
def test_a_training_checks_both_lists_of_its_fold(tmp_path, training, validation, text):
    write(tmp_path, ("a", "b"))
    with pytest.raises(UserError, match=text):
        checked_split(tmp_path, 0, CASES, lambda: (training, validation), print)


@pytest.mark.parametrize(("fold", "warned"), [(0, False), (1, True), ("all", False)])
def test_a_fold_that_validates_on_its_training_cases_is_named(tmp_path, fold, warned):
    write(tmp_path, ("abc", "de"), ("abcd", "de"))
    lists = {0: ("abc", "de"), 1: ("abcd", "de"), "all": (CASES, CASES)}
    lines: list[str] = []
    checked_split(tmp_path, fold, CASES, lambda: lists[fold], lines.append)
    assert any("fold 1, has 1 case(s) both in 'train' and in 'val': d." in line for line in lines) == warned
