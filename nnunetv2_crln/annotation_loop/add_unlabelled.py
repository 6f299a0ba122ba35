"""Add scans to imagesUl of a dataset as links or converted files; each is checked and nothing is overwritten."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnunetv2_crln.annotation_loop.find_scans import Scan, find_scans, readable_endings
from nnunetv2_crln.annotation_loop.known_images import known_images
from nnunetv2_crln.annotation_loop.move_file import move_file, remove_unfinished_files
from nnunetv2_crln.annotation_loop.scan_admission import ADDED, PRESENT, REFUSED, ScanAdmission
from nnunetv2_crln.dataset_conversion.common.dicom import read_series
from nnunetv2_crln.dataset_conversion.common.image_files import read_image, write_image
from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.layout import ADDED_FILE, IMAGES_LABELLED, IMAGES_UNLABELLED, INCOMING_FOLDER, RAW_LOCK
from nnunetv2_crln.plan_and_preprocess.added_cases import preprocess_added_unlabelled, preprocessed_data
from nnunetv2_crln.raw_dataset.cases import channel_name, first_image, labelled_images, number_of_channels
from nnunetv2_crln.raw_dataset.check_dataset_json import read_checked_dataset_json
from nnunetv2_crln.raw_dataset.check_names import COMPARED, refuse_broken_links
from nnunetv2_crln.raw_dataset.companions import has_voxels_elsewhere, with_companions
from nnunetv2_crln.raw_dataset.folders import find_dataset
from nnunetv2_crln.raw_dataset.readers import reader_class_of
from nnunetv2_crln.raw_dataset.survey import ChannelReport, inspect_case
from nnunetv2_crln.raw_dataset.unused import find_unused
from nnunetv2_crln.utilities.advice import PREPROCESS, command_line
from nnunetv2_crln.utilities.files import csv_text, finished_file, write_text
from nnunetv2_crln.utilities.locking import FolderLock
from nnunetv2_crln.utilities.parallel import run_parallel


@dataclass(frozen=True)
class AddOptions:
    """Values of the command line.

    Attributes:
        dataset_id: Number of the dataset.
        folders: Folders with the scans.
        patterns: File names of the channels with ``{case}``; if empty, nnU-Net's names.
        prefix: Prefix for the name of every case.
        copy: Copy files instead of linking to them.
        processes: Number of processes.
        preprocess: Preprocess the new cases for everything the dataset is already preprocessed for.
        dry_run: Report only, without changing anything.
        show_progress: Show progress bars.
    """

    dataset_id: int
    folders: tuple[Path, ...]
    patterns: tuple[str, ...] = ()
    prefix: str = ""
    copy: bool = False
    processes: int = 4
    preprocess: bool = True
    dry_run: bool = False
    show_progress: bool = True


@dataclass
class Summary:
    """Result for each scan: (scan, :data:`ADDED`, :data:`PRESENT` or :data:`REFUSED`, reason), and remarks."""

    dry_run: bool = False
    rows: list[tuple[Scan, str, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def of(self, outcome: str) -> list[tuple[Scan, str]]:
        """Return the scans with one outcome, and the reasons."""
        return [(scan, reason) for scan, found, reason in self.rows if found == outcome]

    def text(self) -> str:
        """Return the summary for the terminal."""
        added = self.of(ADDED)
        lines = [f"{len(added)} scan(s) {'would be ' if self.dry_run else ''}added to {IMAGES_UNLABELLED}."]
        for outcome in (PRESENT, REFUSED):
            if found := self.of(outcome):
                lines.append(f"{len(found)} scan(s) {outcome}:")
                lines += [f"  {scan.name} ({scan.source}): {reason}" for scan, reason in found[:20]]
                if len(found) > 20:
                    lines.append(f"  … all of them in {ADDED_FILE}")
        return "\n".join([*lines, *self.remarks])


def add_unlabelled(options: AddOptions) -> Summary:
    """Find, check and add scans, tell of them, and preprocess them for what the dataset is already preprocessed for.

    Returns:
        Result for each scan; a bad scan does not stop the others.

    Raises:
        UserError: Input is wrong, or another command is changing the same dataset.
    """
    folders = find_dataset(options.dataset_id)
    dataset_json = read_checked_dataset_json(folders.raw)
    with FolderLock(folders.raw / RAW_LOCK) as lock:
        lock.acquire(f"{folders.raw} is being changed by another command. Wait until it ends.")
        # Before a scan comes in: plans that cannot be used must not leave half of the work.
        data = preprocessed_data(folders) if options.preprocess else []
        summary = _place_scans(folders.raw, dataset_json, options)
    if summary.of(ADDED) and not options.dry_run:
        if not options.copy:
            summary.remarks.append("Files that were not converted are links: leave the originals in place, or --copy.")
        if options.preprocess and not data:
            summary.remarks.append(f"Next: {command_line(PREPROCESS, '-d', folders.number)}")
    print(summary.text())
    if options.preprocess and not options.dry_run and (summary.of(ADDED) or summary.of(PRESENT)):
        preprocess_added_unlabelled(folders, data, options.processes, options.show_progress)
    return summary


def _place_scans(raw: Path, dataset_json: dict, options: AddOptions) -> Summary:
    refuse_broken_links(raw, find_unused(raw, dataset_json), COMPARED)
    labelled = labelled_images(raw, dataset_json)
    if not labelled:
        raise UserError(f"{raw / IMAGES_LABELLED} holds no labelled case: nothing tells what a scan must look like.")
    # Some formats hold all channels in one file (RGB, 4D NIfTI): follow the labelled cases.
    files_a_case = max(len(files) for files in labelled.values())
    reader_class = reader_class_of(dataset_json, first_image(labelled))
    scans = find_scans(options.folders, files_a_case, options.patterns, options.prefix)
    known = known_images(raw, dataset_json, reader_class, options.processes, options.show_progress)
    admission = ScanAdmission(known, number_of_channels(dataset_json))
    summary = Summary(options.dry_run)
    staging = raw / INCOMING_FOLDER
    shutil.rmtree(staging, ignore_errors=True)
    if not options.dry_run:
        remove_unfinished_files(raw)
    try:
        for scan, reports, error in _staged(scans, staging, dataset_json, reader_class, options):
            outcome, reason = (REFUSED, error) if error else admission.decide(scan.name, reports)
            if outcome == ADDED and not options.dry_run:
                _move_in(staging / scan.name, raw / IMAGES_UNLABELLED)
            summary.rows.append((scan, outcome, reason))
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if not options.dry_run:
            _append(summary, raw / ADDED_FILE)
    return summary


# --- from a folder to files as nnU-Net names them ---------------------------------------------------------------------


def _staged(
    scans: Sequence[Scan], staging: Path, dataset_json: dict, reader_class: type[BaseReaderWriter], options: AddOptions
) -> Iterator[tuple[Scan, list[ChannelReport], str]]:
    """Bring the scans into a folder inside the dataset and describe them; failed ones have an error text instead."""
    for scan in scans:
        if scan.fault:
            yield scan, [], scan.fault
    usable = {scan.name: scan for scan in scans if not scan.fault}
    tasks = {
        name: (scan, staging / name, dataset_json, options.copy and not options.dry_run, reader_class)
        for name, scan in usable.items()
    }
    arguments = (options.processes, "Reading the scans", options.show_progress, not options.dry_run)
    for outcome in run_parallel(stage_scan, tasks, *arguments):
        yield usable[outcome.name], outcome.value or [], outcome.error or ""


def stage_scan(
    scan: Scan, folder: Path, dataset_json: dict, copy: bool, reader_class: type[BaseReaderWriter]
) -> list[ChannelReport]:
    """Link, copy or convert the files of one scan into a folder of its own.

    Args:
        scan: Scan without fault.
        folder: Folder to create for the files.
        dataset_json: Content of dataset.json.
        copy: Copy files that need no conversion instead of linking to them.
        reader_class: Reader of nnU-Net for the dataset.

    Returns:
        Description of each file, one per channel.

    Raises:
        UserError: A file cannot be read or converted.
    """
    ending = dataset_json["file_ending"]
    folder.mkdir(parents=True)
    targets = [folder / f"{scan.name}_{channel:04d}{ending}" for channel in range(len(scan.channels))]
    for channel, (source, target) in enumerate(zip(scan.channels, targets, strict=True)):
        if source.is_dir():
            # nnU-Net takes a channel of this name for Hounsfield units. What others hold, their names do not tell.
            is_ct = channel_name(dataset_json, channel).lower() == "ct"
            write_image(read_series(source, "CT" if is_ct else ""), target)
        elif source.name.lower().endswith(ending.lower()) and not has_voxels_elsewhere(source):
            for file, place in with_companions(source, target):  # the new name has the ending that readers know
                _place(file, place, copy)
        elif source.name.endswith(readable_endings()):
            write_image(read_image(source), target)
        else:
            # ITK and the checks of NIfTI files go by the name, and most formats are known to them in lower case alone.
            raise UserError(_how_to_rename(source))
    return inspect_case([str(target) for target in targets], reader_class)


def _how_to_rename(source: Path) -> str:
    known = max((e for e in readable_endings() if source.name.lower().endswith(e)), key=len)
    renamed = source.name[: -len(known)] + known
    return f"its ending {source.name[-len(known) :]} is read in lower case only; rename {source.name} to {renamed}"


def _place(source: Path, target: Path, copy: bool) -> None:
    if copy:
        with finished_file(target) as temporary:
            shutil.copyfile(source, temporary)
        return
    if os.path.lexists(target):  # all channels share the spacing of a TIFF case
        return
    try:
        target.symlink_to(source.resolve())
    except OSError as error:
        raise UserError(
            f"cannot make a symbolic link to {source} ({error.strerror}); use --copy on file systems without links"
        ) from error


def _move_in(staged: Path, images: Path) -> None:
    images.mkdir(exist_ok=True)
    for path in sorted(staged.iterdir()):
        move_file(path, images / path.name)


# --- the record -------------------------------------------------------------------------------------------------------


def _append(summary: Summary, path: Path) -> None:
    """Add the outcome of this run to the list of all runs beside dataset.json."""
    if not summary.rows:
        return
    text = path.read_text(encoding="utf-8") if path.is_file() else "time,case,source,outcome,reason\n"
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    rows = [[now, scan.name, scan.source, outcome, reason] for scan, outcome, reason in summary.rows]
    write_text(path, text + csv_text(rows))


def refuse_unusable(summary: Summary) -> None:
    """End the command with an error if scans were refused.

    Raises:
        UserError: Scans were refused; the message names them. All others are added.
    """
    if refused := summary.of(REFUSED):
        texts = [f"{scan.name}: {reason}" for scan, reason in refused]
        raise UserError(
            f"{len(refused)} of {len(summary.rows)} scan(s) were not added: {listing(texts, 3)}. The others are in "
            "place; correct or remove these and run the same command again."
        )
