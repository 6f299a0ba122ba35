"""Move newly annotated cases from imagesUl to imagesTr, and keep plans, folds and everything that is preprocessed.

Every step brings one thing into the state it must have and leaves it alone where it has it, so that an interrupted run
is continued by running the command again.
"""

from __future__ import annotations

import contextlib
import filecmp
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_crln.annotation_loop.move_file import move_file, remove_unfinished_files
from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.layout import (
    IMAGES_LABELLED,
    IMAGES_UNLABELLED,
    LABELS_LABELLED,
    RAW_LOCK,
    SPLITS_FILE,
    VALIDATION_LABELS,
    unlabelled_folder,
    unlabelled_info_file,
)
from nnunetv2_crln.plan_and_preprocess.added_cases import (
    PreprocessedData,
    preprocess_added_labelled,
    preprocessed_data,
    require_blosc2,
    require_same_plans,
)
from nnunetv2_crln.preprocessed_dataset.case_files import remove_case
from nnunetv2_crln.preprocessed_dataset.commands import unlabelled_command
from nnunetv2_crln.preprocessed_dataset.data_locks import LabelledDataLocks
from nnunetv2_crln.preprocessed_dataset.dataset_json_copy import update_dataset_json_copy
from nnunetv2_crln.preprocessed_dataset.splits import read_splits
from nnunetv2_crln.raw_dataset.annotated_labels import annotated_labels
from nnunetv2_crln.raw_dataset.cases import (
    find_labelled_cases,
    find_unlabelled_cases,
    first_image,
    labelled_images,
    list_cases,
    list_files,
)
from nnunetv2_crln.raw_dataset.check_dataset_json import read_checked_dataset_json
from nnunetv2_crln.raw_dataset.check_labels import allowed_values, check_label, claimed_but_lacking
from nnunetv2_crln.raw_dataset.check_names import COMPARED, files_a_case, refuse_broken_links, wrong_channels
from nnunetv2_crln.raw_dataset.classes import all_values
from nnunetv2_crln.raw_dataset.companions import with_companions
from nnunetv2_crln.raw_dataset.dataset_json import read_dataset_json
from nnunetv2_crln.raw_dataset.folders import DatasetFolders, find_dataset
from nnunetv2_crln.raw_dataset.readers import image_endings, reader_class_of
from nnunetv2_crln.raw_dataset.unused import find_unused
from nnunetv2_crln.utilities.advice import PREPROCESS, command_line
from nnunetv2_crln.utilities.files import finished_file, remove_leftovers
from nnunetv2_crln.utilities.json_files import read_json, read_users_json, write_json
from nnunetv2_crln.utilities.locking import FolderLock
from nnunetv2_crln.utilities.names import BUT_FOR_CASE, portable_key
from nnunetv2_crln.utilities.parallel import run_all


@dataclass(frozen=True)
class AddedLabels:
    """Result of adding labels.

    Attributes:
        cases: Cases that are labelled now.
        preprocessed: They are preprocessed for everything the dataset is already preprocessed for.
    """

    cases: list[str]
    preprocessed: bool


@dataclass(frozen=True)
class NewLabel:
    """A label for an unlabelled case.

    Attributes:
        case: Identifier of the case.
        label: File with the label.
        images: Channel files of the case, wherever an interrupted run has left them.
    """

    case: str
    label: Path
    images: tuple[Path, ...]


def add_labels(
    dataset_id: int,
    labels: Path,
    cases: Sequence[str] = (),
    processes: int = 4,
    preprocess: bool = True,
    show_progress: bool = True,
) -> AddedLabels:
    """Turn unlabelled cases into labelled ones.

    Args:
        dataset_id: Number of the dataset.
        labels: Folder with a label file ``CASE.ext`` for each newly annotated case.
        cases: Cases to take; if empty, all in the folder.
        processes: Number of processes.
        preprocess: Preprocess the cases for everything the dataset is already preprocessed for.
        show_progress: Show progress bars.

    Returns:
        Cases that are labelled now, and whether trainings can use them.

    Raises:
        UserError: A label has no case or does not fit it, or a training is running; then nothing has changed.
    """
    folders = find_dataset(dataset_id)
    dataset_json = read_checked_dataset_json(folders.raw)
    if "dataset" in dataset_json:
        raise UserError(
            f"{folders.raw / 'dataset.json'} lists its cases itself (key 'dataset'). Remove that entry if the cases "
            "lie in imagesTr and labelsTr, or add the new ones to it by hand."
        )
    with contextlib.ExitStack() as locks:
        lock = locks.enter_context(FolderLock(folders.raw / RAW_LOCK))
        lock.acquire(f"{folders.raw} is being changed by another command. Wait until it ends.")
        refuse_broken_links(folders.raw, find_unused(folders.raw, dataset_json), COMPARED)
        new = _find_labels(folders.raw, dataset_json, labels, cases)
        _check_channels(folders.raw, dataset_json, new)
        values = _check_labels(folders.raw, dataset_json, new, processes, show_progress)
        if preprocess:
            _refuse_unplanned_classes(folders, values)
        data = preprocessed_data(folders)
        data_locks = locks.enter_context(LabelledDataLocks())
        for entry in data:
            data_locks.acquire(entry.folder)
            require_blosc2(entry)
            if preprocess:
                require_same_plans(entry)
        _check_what_will_be_updated(folders, data)
        remove_unfinished_files(folders.raw)
        for label in new:
            _move(folders.raw, dataset_json["file_ending"], label)
        dataset_json = _count_again(folders)
        ready = bool(data) and preprocess
        if ready:
            _update_preprocessed(folders, data, dataset_json, [label.case for label in new], processes, show_progress)
        # Last: a fold that names a case which could not be preprocessed cannot be trained.
        _join_training_part(folders, [label.case for label in new])
    return AddedLabels([label.case for label in new], ready)


# --- what is there ----------------------------------------------------------------------------------------------------


def _find_labels(raw: Path, dataset_json: dict, folder: Path, cases: Sequence[str]) -> list[NewLabel]:
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder. Name the folder with the new labels, one CASE.ext for each case.")
    files = _label_files(folder)
    if unknown := sorted(set(cases) - set(files)):
        raise UserError(f"{folder} has no label for {listing(unknown)} (--cases). It has: {listing(files) or 'none'}.")
    chosen = {case: files[case] for case in cases} if cases else files
    if not chosen:
        raise UserError(f"{folder} holds no label. Expected CASE{dataset_json['file_ending']} for each new case.")
    ending = dataset_json["file_ending"]
    unlabelled = find_unlabelled_cases(raw, dataset_json)
    labelled = list_cases(raw / IMAGES_LABELLED, ending)
    spelling = {portable_key(case): case for case in labelled}
    new: list[NewLabel] = []
    strangers: list[str] = []
    present: list[str] = []
    twins: list[tuple[str, str]] = []
    for case, path in sorted(chosen.items()):
        # An interrupted run leaves a case in imagesTr, or in both folders, and its label in labelsTr. Another label
        # there is the work of somebody: it is never overwritten, wherever the images lie.
        own = raw / LABELS_LABELLED / f"{case}{ending}"
        images = tuple(Path(file) for file in (*labelled.get(case, ()), *unlabelled.get(case, ())))
        if not images:
            strangers.append(case)
        elif case not in labelled and (twin := spelling.get(portable_key(case))) is not None:
            twins.append((case, twin))  # its images would replace those of the other one on some file systems
        elif _equals(own, path) if own.exists() else case in unlabelled:
            new.append(NewLabel(case, path, tuple(sorted(images, key=lambda file: file.name))))
        else:
            present.append(case)
    if strangers or present or twins:
        texts = [f"{case} (not in {IMAGES_UNLABELLED})" for case in strangers]
        texts += [f"{case} (labelled already, with another label)" for case in present]
        texts += [f"{case} ({twin} is labelled, which is the same name {BUT_FOR_CASE})" for case, twin in twins]
        raise UserError(
            f"{folder} has label(s) that cannot be used: {listing(texts)}. Name labels like their case, correct or "
            f"remove the other label in {raw / LABELS_LABELLED}, rename one of two cases of one name, or choose with "
            "--cases. Nothing was changed."
        )
    return new


def _equals(file: Path, other: Path) -> bool:
    return file.is_file() and filecmp.cmp(file, other, shallow=False)


def _label_files(folder: Path) -> dict[str, Path]:
    """Find the label file of each case; endings in upper case are found too, to be refused by name."""
    files: dict[str, Path] = {}
    for name in list_files(folder):
        if not (endings := [ending for ending in image_endings() if name.lower().endswith(ending)]):
            continue
        case = name[: -max(map(len, endings))]
        if case in files:
            raise UserError(
                f"{folder} has two labels of {case}: {files[case].name} and {name}. Expected one label for each case: "
                "remove one. Nothing was changed."
            )
        files[case] = folder / name
    return files


def _check_channels(raw: Path, dataset_json: dict, new: list[NewLabel]) -> None:
    """Refuse cases that lack a channel: nnU-Net would preprocess them with the other ones alone."""
    images = {label.case: [str(file) for file in label.images] for label in new}
    others = {case: files for case, files in labelled_images(raw, dataset_json).items() if case not in images}
    number = files_a_case(dataset_json, others or images)
    if wrong := wrong_channels(images, number, dataset_json["file_ending"]):
        raise UserError(
            f"{raw / IMAGES_UNLABELLED} does not hold exactly {number} channel file(s) of each newly labelled case: "
            f"{listing(wrong)}. Add the missing files, remove the surplus ones, or leave out these cases with --cases. "
            "Nothing was changed."
        )


def _check_labels(
    raw: Path, dataset_json: dict, new: list[NewLabel], processes: int, show_progress: bool
) -> dict[str, tuple[int, ...]]:
    """Refuse wrong labels; return the values that occur in each, by case."""
    allowed = allowed_values(raw / "dataset.json", dataset_json)
    cases = {label.case: [str(file) for file in label.images] for label in new} | labelled_images(raw, dataset_json)
    annotated = annotated_labels(dataset_json, list(cases))
    reader_class = reader_class_of(dataset_json, first_image(cases))
    ending = dataset_json["file_ending"]
    tasks = {
        label.case: ([str(file) for file in label.images], str(label.label), allowed, reader_class)
        for label in new
        if label.label.name.endswith(ending)
    }
    reports, errors = run_all(check_label, tasks, processes, "Opening every label", show_progress)
    texts = [*errors.values(), *(text for report in reports.values() for text in report.all_faults)]
    for label in new:
        if label.case in annotated and label.case in reports:
            report = reports[label.case]
            texts += claimed_but_lacking(str(label.label), report, annotated[label.case], dataset_json)
    texts += [
        f"{label.label.name} does not end in {ending}, as the dataset's files do: convert or rename it"
        for label in new
        if not label.label.name.endswith(ending)
    ]
    if texts:
        raise UserError(
            f"{new[0].label.parent} has {len(texts)} wrong label(s): {listing(texts)}. Correct them and run the "
            "command again. Nothing was changed."
        )
    return {case: report.values for case, report in reports.items()}


def _refuse_unplanned_classes(folders: DatasetFolders, values: dict[str, tuple[int, ...]]) -> None:
    """Refuse classes that were added to dataset.json after planning: trainings read the copy of that time."""
    path = folders.preprocessed / "dataset.json"
    if not path.is_file():
        return
    planned = set(all_values(read_checked_dataset_json(folders.preprocessed)))
    if unplanned := [f"{case} ({listing(map(str, new))})" for case in values if (new := set(values[case]) - planned)]:
        raise UserError(
            f"{len(unplanned)} label(s) have values that are in {folders.raw / 'dataset.json'}, but not in its copy "
            f"{path}, from which trainings know the classes: {listing(unplanned)}. Plan and preprocess the dataset "
            f"again, then run this command again: {command_line(PREPROCESS, '-d', folders.number)}. Nothing was "
            "changed."
        )


def _check_what_will_be_updated(folders: DatasetFolders, data: list[PreprocessedData]) -> None:
    """Read the files that are updated last: a damaged one must not be found when everything else has changed."""
    for folder in (folders.preprocessed, folders.raw):
        read_splits(folder)
    if (copy := folders.preprocessed / "dataset.json").is_file():
        read_dataset_json(copy)
    for entry in data:
        info = unlabelled_info_file(unlabelled_folder(folders.preprocessed, entry.folder.name))
        if info.is_file():
            unlabelled = unlabelled_command(folders.preprocessed, entry.plans_manager, entry.configuration)
            way_out = f"Remove it and preprocess the unlabelled cases again: {unlabelled}. Nothing was changed."
            content = read_users_json(info, way_out)
            if not isinstance(content, dict) or not isinstance(content.get("cases"), list):
                raise UserError(f"{info} does not list the unlabelled cases. {way_out}")


# --- one step after the other -----------------------------------------------------------------------------------------


def _move(raw: Path, ending: str, new: NewLabel) -> None:
    """Put the label into labelsTr first: an interrupted run must not leave a labelled case without a label."""
    target = raw / LABELS_LABELLED / f"{new.case}{ending}"
    target.parent.mkdir(exist_ok=True)
    for source, destination in with_companions(new.label, target, is_label=True):
        if not _equals(destination, source):
            with finished_file(destination) as temporary:
                shutil.copyfile(source, temporary)
    for image in new.images:
        if image.parent.name == IMAGES_UNLABELLED:
            # The companions first: all channels share the spacing of a TIFF case.
            for source, destination in reversed(with_companions(image, raw / IMAGES_LABELLED / image.name)):
                move_file(source, destination)


def _count_again(folders: DatasetFolders) -> dict:
    """Set numTraining to the number of labelled cases, and bring nnU-Net's copy of dataset.json up to date."""
    dataset_json = read_dataset_json(folders.raw)
    number = len(find_labelled_cases(folders.raw, dataset_json))
    dataset_json = {**dataset_json, "numTraining": number}
    write_json(dataset_json, folders.raw / "dataset.json")
    update_dataset_json_copy(folders)
    return dataset_json


def _join_training_part(folders: DatasetFolders, cases: list[str]) -> None:
    """Add the new cases to the training part of every fold; the validation parts do not change."""
    for path in (folders.preprocessed / SPLITS_FILE, folders.raw / SPLITS_FILE):
        if not path.is_file():
            continue
        folds = read_splits(path.parent)
        for fold in folds:
            fold["train"] = [*fold["train"], *(c for c in cases if c not in fold["train"] and c not in fold["val"])]
        write_json(folds, path)


def _is_preprocessed(folder: Path, case: str, files: dict) -> bool:
    """Check whether an earlier run has preprocessed a labelled case since its label was added."""
    image = folder / f"{case}.b2nd"
    return image.is_file() and image.stat().st_mtime >= Path(files["label"]).stat().st_mtime


def _update_preprocessed(
    folders: DatasetFolders,
    data: list[PreprocessedData],
    dataset_json: dict,
    cases: list[str],
    processes: int,
    show_progress: bool,
) -> None:
    labelled = find_labelled_cases(folders.raw, dataset_json)
    truths = folders.preprocessed / VALIDATION_LABELS
    if truths.is_dir():
        remove_leftovers(truths)
        for case in cases:
            with finished_file(truths / Path(labelled[case]["label"]).name) as temporary:
                shutil.copyfile(labelled[case]["label"], temporary)
    for entry in data:
        unlabelled = unlabelled_folder(folders.preprocessed, entry.folder.name)
        if (info := unlabelled_info_file(unlabelled)).is_file():
            content = read_json(info)
            write_json({**content, "cases": [case for case in content["cases"] if case not in cases]}, info)
        todo = {case: labelled[case] for case in cases if not _is_preprocessed(entry.folder, case, labelled[case])}
        preprocess_added_labelled(entry, todo, dataset_json, processes, show_progress)
        for case in cases:
            remove_case(unlabelled, case)
