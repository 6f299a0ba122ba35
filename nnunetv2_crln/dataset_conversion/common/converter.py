"""Convert a dataset case by case: the part that all conversion scripts share.

Each case is written under its final names as soon as it is complete. dataset.json comes last, so nnU-Net cannot use a
dataset with missing cases. Until then ``dataset.json.incomplete`` holds the settings and the cases, and running the
same command again continues where it stopped.
"""

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnunetv2.paths import nnUNet_preprocessed

from nnunetv2_crln.dataset_conversion.common.converted_case import ConvertedCase, SourceCase
from nnunetv2_crln.dataset_conversion.common.image_files import write_image
from nnunetv2_crln.dataset_conversion.common.roles import Role
from nnunetv2_crln.dataset_conversion.common.search import Found
from nnunetv2_crln.dataset_conversion.common.splits import Split
from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.layout import (
    DATASET_RECORD,
    LABELLED_CASES,
    NUM_LABELLED,
    RAW_LOCK,
    SPLITS_FILE,
    UNFINISHED_CONVERSION_FILE,
)
from nnunetv2_crln.raw_dataset.folders import dataset_folder_name, raw_root, refuse_other_names
from nnunetv2_crln.utilities.files import remove_leftovers
from nnunetv2_crln.utilities.json_files import read_users_json, write_json
from nnunetv2_crln.utilities.locking import FolderLock
from nnunetv2_crln.utilities.parallel import run_all

FILE_ENDING = ".nii.gz"


@dataclass(frozen=True)
class Target:
    """Choices of the user for a conversion.

    Attributes:
        dataset_id: Number of the new dataset.
        name: Name after the number.
        num_labelled: Number of labelled cases or patients, the first ones of the training cases.
        allow_partial: Make a smaller dataset if cases are missing or broken.
        processes: Number of processes.
        dry_run: Write nothing.
    """

    dataset_id: int
    name: str
    num_labelled: int
    allow_partial: bool = False
    processes: int = 1
    dry_run: bool = False

    @property
    def folder(self) -> Path:
        """Folder of the new dataset in nnUNet_raw."""
        return raw_root() / dataset_folder_name(self.dataset_id, self.name)


@dataclass(frozen=True)
class Conversion:
    """Properties of one dataset that its conversion needs.

    Attributes:
        channels: Channel names; nnU-Net chooses the normalisation by them.
        labels: Class names, background first; their numbers are 0, 1, …
        read: Function that reads one case; it can be imported from a module, so that worker processes find it.
        options: Options for ``read``, which are also written into dataset.json.
        about: Entries of dataset.json such as reference and licence; ``labels`` too if they are regions.
        missing_hint: Reason why published cases may be missing from a download.
    """

    channels: tuple[str, ...]
    labels: tuple[str, ...]
    read: Callable[[SourceCase, dict[str, Any]], ConvertedCase]
    options: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    missing_hint: str = ""


@dataclass(frozen=True)
class Job:
    """One case to convert."""

    name: str
    role: Role
    source: SourceCase
    folder: Path
    conversion: Conversion

    @property
    def images(self) -> list[Path]:
        """Paths of the converted channels."""
        folder = self.folder / self.role.images
        return [folder / f"{self.name}_{channel:04d}{FILE_ENDING}" for channel in range(len(self.conversion.channels))]

    @property
    def label(self) -> Path:
        """Path of the converted label."""
        return self.folder / self.role.labels / f"{self.name}{FILE_ENDING}"

    @property
    def done(self) -> bool:
        """True if an earlier run has written the case; the last channel is written last."""
        return self.images[-1].is_file()


@dataclass
class Report:
    """Result of a conversion for the cases of a split."""

    roles: dict[str, Role]
    found: Found
    sources: dict[str, SourceCase]
    notes: dict[str, list[str]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)
    with_label: set[str] = field(default_factory=set)

    @property
    def missing(self) -> list[str]:
        """Cases of the split that are in none of the source folders."""
        return [case for case in self.roles if case not in self.sources and case not in self.errors]

    def of(self, role: Role, cases: Any = None) -> list[str]:
        """List the cases of one role, in the order of the split.

        Args:
            role: Role of the cases.
            cases: Container of the cases to consider; None considers all.

        Returns:
            Case names.
        """
        return [case for case, own in self.roles.items() if own is role and (cases is None or case in cases)]


def convert(target: Target, conversion: Conversion, split: Split, found: Found) -> Report:
    """Convert the cases of a split that were found.

    Args:
        target: Choices of the user.
        conversion: Properties of the dataset.
        split: Cases of the dataset, and their roles.
        found: Files of the cases.

    Returns:
        What happened to each case.

    Raises:
        UserError: The dataset exists already, another conversion is writing it, or cases are missing and
            a smaller dataset is not allowed.
    """
    report = _plan(split.roles(target.num_labelled), found)
    folder = target.folder
    record = _dataset_json(conversion, split, len(report.of(Role.LABELLED)), folder.name)
    # With the cases: one that an earlier run wrote must not stay after the user has taken it off the list.
    unfinished = {**record, "cases": {case: role.value for case, role in report.roles.items()}}
    _check_target(folder, unfinished, target.dataset_id)
    splits_files = _splits_files(folder, _folds(split, report, report.sources))
    if target.dry_run:
        return report
    _check_complete(report, conversion, target.allow_partial)
    folder.mkdir(parents=True, exist_ok=True)
    with FolderLock(folder / RAW_LOCK) as lock:
        lock.acquire(f"{folder} is being written by another conversion. Wait until it ends.")
        _check_target(folder, unfinished, target.dataset_id)  # again: another conversion may have come first
        _prepare(folder, unfinished)
        _convert_cases(report, folder, conversion, target.processes)
        if target.allow_partial or len(report.written) == len(report.roles):
            folds = _folds(split, report, report.written)
            _publish(folder, record, report, dict.fromkeys(splits_files, folds) if folds else {})
    return report


# --- before writing ---------------------------------------------------------------------------------------------------


def _plan(roles: dict[str, Role], found: Found) -> Report:
    sources = found.unique_sources()
    for case in sorted(sources.keys() - roles.keys()):
        found.skipped["not in the split"].append(case)
    for case in sorted(found.broken.keys() - roles.keys()):
        found.skipped[f"not in the split and unusable: {found.broken[case]}"].append(case)
    report = Report(roles, found, {case: source for case, source in sources.items() if case in roles})
    for case, role in roles.items():
        if case in found.broken:
            report.errors[case] = found.broken[case]
        elif case in report.sources and role.needs_label and report.sources[case].label is None:
            report.errors[case] = (
                f"is a {role.value} case, but has no label beside {report.sources[case].images[0]}. Add the label."
            )
    return report


def _dataset_json(conversion: Conversion, split: Split, num_labelled: int, name: str) -> dict:
    return {
        "name": name,
        "channel_names": {str(index): channel for index, channel in enumerate(conversion.channels)},
        "labels": {label: index for index, label in enumerate(conversion.labels)},
        "numTraining": 0,
        "file_ending": FILE_ENDING,
        **conversion.about,
        DATASET_RECORD: {
            "split": split.source,
            NUM_LABELLED: num_labelled,
            "conversion": conversion.options,
            LABELLED_CASES: [],
        },
    }


def _check_target(folder: Path, wanted: dict, dataset_id: int) -> None:
    refuse_other_names(dataset_id, folder.name)
    if not os.path.lexists(folder) or (folder.is_dir() and all(path.name == RAW_LOCK for path in folder.iterdir())):
        return
    unfinished = folder / UNFINISHED_CONVERSION_FILE
    if not unfinished.is_file():
        raise UserError(f"{folder} exists already and is not overwritten. Remove it or choose another number with -d.")
    if read_users_json(unfinished, f"Remove {folder} to convert it anew.") != wanted:
        raise UserError(
            f"{folder} holds an unfinished conversion with other settings or cases (see its "
            f"{UNFINISHED_CONVERSION_FILE}). Use the same settings and case lists to finish it, or remove the folder."
        )


def _folds(split: Split, report: Report, cases: Collection[str]) -> list[dict[str, list[str]]]:
    """Return the folds of those of the given cases that are labelled or for validation."""
    return split.folds(report.of(Role.LABELLED, cases), report.of(Role.VALIDATION, cases))


def _splits_files(folder: Path, folds: list[dict[str, list[str]]]) -> list[Path]:
    """Return the files that tell nnU-Net the folds; an empty list without folds."""
    if not folds:
        return []
    files = [folder / SPLITS_FILE]
    if nnUNet_preprocessed.is_set():
        read_by_nnunet = Path(nnUNet_preprocessed.get()) / folder.name / SPLITS_FILE
        if read_by_nnunet.exists() and read_users_json(read_by_nnunet, "Correct or remove it.") != folds:
            raise UserError(
                f"{read_by_nnunet} exists and describes another split. Remove it (and the other preprocessed data of "
                "that dataset), or choose another number with -d."
            )
        files.append(read_by_nnunet)
    return files


def _check_complete(report: Report, conversion: Conversion, allow_partial: bool) -> None:
    for role in (Role.LABELLED, Role.UNLABELLED):
        if not report.of(role, report.sources):
            raise UserError(
                f"None of the {len(report.of(role))} {role.value} cases of the split was found, such as "
                f"{report.of(role)[0]}. Check the folders given with -i (see --help for what they must look like)."
            )
    if report.missing and not allow_partial:
        raise UserError(
            f"{len(report.missing)} of {len(report.roles)} cases of the split were not found: "
            f"{listing(report.missing)}. {conversion.missing_hint + ' ' if conversion.missing_hint else ''}"
            "Add the folder that holds them (-i takes several), or give --allow_partial to make a smaller dataset."
        )


def _prepare(folder: Path, unfinished: dict) -> None:
    for name in {name for role in Role for name in (role.images, role.labels)}:
        (folder / name).mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    write_json(unfinished, folder / UNFINISHED_CONVERSION_FILE)


# --- writing ----------------------------------------------------------------------------------------------------------


def _convert_cases(report: Report, folder: Path, conversion: Conversion, processes: int) -> None:
    jobs = {
        case: Job(case, role, report.sources[case], folder, conversion)
        for case, role in report.roles.items()
        if case in report.sources and case not in report.errors
    }
    todo = {case: (job,) for case, job in jobs.items() if not job.done}
    notes, errors = run_all(convert_case, todo, processes, "Cases", kept=True)
    report.notes, report.errors = notes, report.errors | errors
    report.written = {case for case, job in jobs.items() if job.done}
    report.with_label = {case for case in report.written if jobs[case].label.is_file()}


def convert_case(job: Job) -> list[str]:
    """Read, check and write one case; a case that fails leaves nothing behind.

    Returns:
        Corrections that were made.

    Raises:
        UserError: The case cannot be used.
    """
    case = job.conversion.read(job.source, job.conversion.options)
    if case.label is None and job.role.needs_label:
        raise UserError(f"{job.source.images[0]} is of a {job.role.value} case, but has no label. Add the label.")
    try:
        if case.label is not None:
            write_image(case.label, job.label)
        for image, path in zip(case.images, job.images, strict=True):
            write_image(image, path)
    except BaseException:
        for path in (*job.images, job.label):
            path.unlink(missing_ok=True)
        raise
    return case.notes


def _publish(folder: Path, record: dict, report: Report, splits: dict[Path, list]) -> None:
    labelled = report.of(Role.LABELLED, report.written)
    training = [*labelled, *report.of(Role.VALIDATION, report.written)]
    if not labelled or not report.of(Role.UNLABELLED, report.written):
        return
    for name in {name for role in Role for name in (role.images, role.labels)}:
        if not any((folder / name).iterdir()):
            (folder / name).rmdir()
    for path, folds in splits.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(folds, path)
    content = {
        **record,
        "numTraining": len(training),
        DATASET_RECORD: {**record[DATASET_RECORD], LABELLED_CASES: sorted(labelled)},
    }
    write_json(content, folder / "dataset.json")
    (folder / UNFINISHED_CONVERSION_FILE).unlink()
