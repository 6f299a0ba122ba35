"""Plan a semi-supervised dataset that is made from a labelled one by hiding labels."""

import os
import random
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from nnunetv2_crln.dataset_conversion.common.case_names import read_case_list
from nnunetv2_crln.dataset_conversion.common.roles import Role
from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.layout import ANNOTATED_LABELS, DATASET_RECORD, LABELLED_CASES, UNLABELLED_GROUPS, dataset_title
from nnunetv2_crln.raw_dataset.annotated_labels import AnnotatedLabels, annotated_entry, annotated_labels
from nnunetv2_crln.raw_dataset.cases import find_labelled_cases, find_unlabelled_cases, list_cases
from nnunetv2_crln.raw_dataset.check_dataset_json import read_checked_dataset_json
from nnunetv2_crln.raw_dataset.check_names import refuse_incomplete_cases
from nnunetv2_crln.raw_dataset.dataset_argument import present_datasets, suggest_dataset
from nnunetv2_crln.raw_dataset.dataset_json import record_entry
from nnunetv2_crln.raw_dataset.folders import dataset_folder_name, raw_root, refuse_other_names
from nnunetv2_crln.raw_dataset.unlabelled_groups import unlabelled_groups
from nnunetv2_crln.utilities.names import with_hint


@dataclass(frozen=True)
class LabelChoice:
    """Choice of the labels that stay visible.

    Attributes:
        num_labelled: Number of labelled cases, drawn with ``seed``; None if ``labelled_cases`` names them.
        labelled_cases: File with the names of the labelled cases.
        test_cases: File with the names of labelled cases that become the test set.
        add_test_images: Use the test images of the source as unlabelled images.
        seed: Seed of the draw.
    """

    num_labelled: int | None = None
    labelled_cases: Path | None = None
    test_cases: Path | None = None
    add_test_images: bool = False
    seed: int = 0


@dataclass(frozen=True)
class PlannedCase:
    """Case of the source dataset with its role in the new one; without a label to write, ``label`` is None."""

    name: str
    images: tuple[str, ...]
    label: str | None
    role: Role


@dataclass(frozen=True)
class HidingPlan:
    """Plan of the dataset to write."""

    source: Path
    target: Path
    dataset_json: dict
    cases: tuple[PlannedCase, ...]
    left_out: tuple[str, ...]

    def of(self, role: Role) -> list[PlannedCase]:
        """Return the cases of one role."""
        return [case for case in self.cases if case.role is role]


def make_plan(source_id: int, target_id: int, choice: LabelChoice, name: str | None = None) -> HidingPlan:
    """Decide the role of each case of a dataset in ``nnUNet_raw``, without writing anything.

    Args:
        source_id: Number of the labelled dataset.
        target_id: Number of the dataset to make.
        choice: Choice of the labels that stay visible.
        name: Name of the new dataset after its number; None takes the source's.

    Returns:
        The plan.

    Raises:
        UserError: The source is incomplete, the target exists, or the choice is impossible.
    """
    root = raw_root()
    source = _find_source(root, source_id)
    target = root / dataset_folder_name(target_id, name or dataset_title(source.name))
    _refuse_existing(target, target_id)
    dataset_json = read_checked_dataset_json(source)
    refuse_incomplete_cases(source, dataset_json)
    labelled = find_labelled_cases(source, dataset_json)
    test_names = _names_from_file(choice.test_cases, labelled, source)
    shown = _labelled_names(choice, labelled, test_names, source)
    cases, left_out = _assign_roles(source, dataset_json, labelled, shown, test_names, choice.add_test_images)
    _refuse_leaks(source, cases)
    partly = annotated_labels(dataset_json, labelled)
    cases = _without_incomplete_labels(cases, partly)
    unlabelled = [case.name for case in cases if case.role is Role.UNLABELLED]
    if not unlabelled:
        raise UserError(
            f"All {len(shown)} labelled cases of {source} would stay labelled, none would be unlabelled. "
            "Lower --num_labelled, or add the test images with --add_test_images."
        )
    entries = {**_annotated_entries(dataset_json, labelled, partly, shown), **_group_entries(dataset_json, unlabelled)}
    content = _new_dataset_json(dataset_json, source, target, choice, shown, entries)
    return HidingPlan(source, target, content, tuple(cases), left_out)


def _find_source(root: Path, dataset_id: int) -> Path:
    found = sorted(path for path in root.glob(f"Dataset{dataset_id:03d}_*") if path.is_dir())
    if len(found) != 1:
        names = present_datasets()
        raise UserError(
            f"{len(found)} folders named Dataset{dataset_id:03d}_… in {root} (nnUNet_raw), expected one. "
            f"Found there: {listing(names) or 'nothing'}. Check the number given with -d and the variable nnUNet_raw."
            f"{suggest_dataset(dataset_id, names)}"
        )
    return found[0]


def _refuse_existing(target: Path, target_id: int) -> None:
    if os.path.lexists(target):
        raise UserError(f"{target} exists already and is not overwritten. Remove it or choose another number with -o.")
    refuse_other_names(target_id, target.name)


def _labelled_names(choice: LabelChoice, labelled: dict[str, dict], test_names: list[str], source: Path) -> list[str]:
    if choice.labelled_cases is not None:
        names = _names_from_file(choice.labelled_cases, labelled, source)
        both = sorted(set(names) & set(test_names))
        if both:
            raise UserError(f"{len(both)} case(s) are in both case lists: {listing(both)}. Remove them from one list.")
        return sorted(names)
    pool = sorted(set(labelled) - set(test_names))
    if choice.num_labelled is None or not 1 <= choice.num_labelled <= len(pool):
        raise UserError(
            f"--num_labelled is {choice.num_labelled}, expected 1 to {len(pool)}: the labelled cases of {source}"
            f"{' that are not test cases' if test_names else ''}."
        )
    # One shuffle, then the first N: with one seed, a smaller labelled set is part of a larger one.
    random.Random(choice.seed).shuffle(pool)
    return sorted(pool[: choice.num_labelled])


def _names_from_file(path: Path | None, labelled: dict[str, dict], source: Path) -> list[str]:
    if path is None:
        return []
    names = read_case_list(path, check=False)  # only names of the source pass
    unknown = [name for name in names if name not in labelled]
    if unknown:
        raise UserError(
            f"{path} names {len(unknown)} case(s) that {source} has no label for: "
            f"{listing(with_hint(name, labelled) for name in unknown)}. "
            f"Expected names such as {next(iter(labelled))}, without channel number and file ending."
        )
    return names


def _assign_roles(
    source: Path,
    dataset_json: dict,
    labelled: dict[str, dict],
    shown: list[str],
    test_names: list[str],
    add_test_images: bool,
) -> tuple[list[PlannedCase], tuple[str, ...]]:
    ending = dataset_json["file_ending"]
    roles = dict.fromkeys(labelled, Role.UNLABELLED)
    roles |= dict.fromkeys(shown, Role.LABELLED) | dict.fromkeys(test_names, Role.TEST)
    cases = [PlannedCase(name, tuple(files["images"]), files["label"], roles[name]) for name, files in labelled.items()]
    cases += _image_folder_cases(
        find_unlabelled_cases(source, dataset_json), source / Role.UNLABELLED.labels, ending, Role.UNLABELLED
    )
    test = list_cases(source / Role.TEST.images, ending)
    if test_names and not add_test_images:
        # Next to the chosen test cases they would be predicted but never scored: two test sets in one folder.
        return cases, tuple(test)
    role = Role.UNLABELLED if add_test_images else Role.TEST
    return cases + _image_folder_cases(test, source / Role.TEST.labels, ending, role), ()


def _image_folder_cases(images: dict[str, list[str]], labels: Path, ending: str, role: Role) -> list[PlannedCase]:
    def label(name: str) -> str | None:
        path = labels / f"{name}{ending}"
        return str(path) if path.is_file() else None

    return [PlannedCase(name, tuple(files), label(name), role) for name, files in images.items()]


def _refuse_leaks(source: Path, cases: Iterable[PlannedCase]) -> None:
    twice = [name for name, count in Counter(case.name for case in cases).items() if count > 1]
    if twice:
        raise UserError(
            f"{len(twice)} case name(s) occur in more than one of imagesTr, imagesUl and imagesTs of {source}: "
            f"{listing(twice)}. If they are one image, remove one copy (training on test images makes scores too "
            "good); if not, rename one."
        )


def _without_incomplete_labels(cases: list[PlannedCase], partly: AnnotatedLabels) -> list[PlannedCase]:
    """Drop the labels of unlabelled cases in which classes are missing: they would be measured as if complete."""
    if test := [case.name for case in cases if case.role is Role.TEST and case.name in partly]:
        raise UserError(
            f'{len(test)} test case(s) lack classes, according to "{ANNOTATED_LABELS}" in the dataset.json of the '
            f"source: {listing(test)}. They would be scored as if complete: remove them from --test_cases."
        )
    hidden = {case.name for case in cases if case.role is Role.UNLABELLED} & partly.keys()
    return [replace(case, label=None) if case.name in hidden else case for case in cases]


def _annotated_entries(
    old: dict, labelled: Collection[str], partly: AnnotatedLabels, shown: list[str]
) -> dict[str, dict]:
    """Return what the source says about classes that are not annotated in a case, for the cases that stay labelled."""
    if shown and partly.keys() >= set(shown):
        raise UserError(
            f"None of the chosen labelled cases ({listing(shown)}) has all classes annotated, according to "
            f'"{ANNOTATED_LABELS}" in the dataset.json of the source. Only such a case shows what background is: '
            "choose another --seed, more with --num_labelled, or name cases with --labelled_cases."
        )
    # The name of a case is no pattern, even if it reads like one.
    kept = {
        key: names
        for key, names in (annotated_entry(old) or {}).items()
        if key in shown or (key not in labelled and any(fnmatchcase(case, key) for case in shown))
    }
    return {ANNOTATED_LABELS: kept} if kept else {}


def _group_entries(old: dict, unlabelled: list[str]) -> dict[str, dict]:
    """Return the groups of the source that have unlabelled cases."""
    kept = record_entry(old, UNLABELLED_GROUPS)
    if isinstance(kept, dict):
        kept = {
            name: pattern
            for name, pattern in kept.items()
            if not isinstance(pattern, str) or any(fnmatchcase(case, pattern) for case in unlabelled)
        }
    entries = {UNLABELLED_GROUPS: kept} if kept else {}
    # Cases that were labelled may fit two patterns, and malformed ones are an error: told now, not before training.
    unlabelled_groups({DATASET_RECORD: entries}, unlabelled)
    return entries


def _new_dataset_json(
    old: dict, source: Path, target: Path, choice: LabelChoice, shown: list[str], entries: dict[str, dict]
) -> dict:
    # With "dataset" nnU-Net would still read the source's files; the Decathlon's lists and counts no longer hold.
    kept = {k: v for k, v in old.items() if k not in ("dataset", "training", "test", "numTest")}
    record = {
        "source": source.name,
        LABELLED_CASES: shown,
        "seed": choice.seed if choice.labelled_cases is None else None,
        "test_images_added": choice.add_test_images,
        **entries,
    }
    return {**kept, "name": target.name, "numTraining": len(shown), DATASET_RECORD: record}
