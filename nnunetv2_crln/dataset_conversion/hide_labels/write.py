"""Write the dataset that was planned."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunetv2_crln.dataset_conversion.common.geometry import ROUNDING, Grid, corner_distance, same_spacing
from nnunetv2_crln.dataset_conversion.common.image_files import read_grid, read_image, write_image
from nnunetv2_crln.dataset_conversion.common.labels import check_values, integer_values
from nnunetv2_crln.dataset_conversion.common.roles import Role
from nnunetv2_crln.dataset_conversion.hide_labels.plan import HidingPlan, PlannedCase
from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.layout import DATASET_RECORD, LABELLED_CASES
from nnunetv2_crln.raw_dataset.cases import first_image
from nnunetv2_crln.raw_dataset.check_labels import check_label
from nnunetv2_crln.raw_dataset.classes import absent_classes, all_values, class_values
from nnunetv2_crln.raw_dataset.companions import with_companions
from nnunetv2_crln.raw_dataset.image_rules import turned
from nnunetv2_crln.raw_dataset.readers import reader_class_of
from nnunetv2_crln.utilities.growing_folder import growing_folder
from nnunetv2_crln.utilities.json_files import write_json
from nnunetv2_crln.utilities.parallel import run_all


@dataclass(frozen=True)
class _Job:
    case: PlannedCase
    folder: Path
    ending: str
    allowed: tuple[int, ...]
    copy: bool
    reader: type[BaseReaderWriter]
    raw_root: Path


@dataclass(frozen=True)
class _Written:
    note: str | None = None
    values: tuple[int, ...] = ()


def write(plan: HidingPlan, copy: bool = False, processes: int = 1) -> tuple[list[str], list[str]]:
    """Write the dataset into a temporary folder beside the target, and rename that at the end.

    Args:
        plan: Plan of ``make_plan``.
        copy: Copy files instead of linking to them.
        processes: Number of worker processes.

    Returns:
        Notes on labels that were corrected, and warnings.

    Raises:
        UserError: Some cases cannot be used; all are listed, and nothing is left behind.
    """
    # The leading dot hides the growing folder from nnU-Net's search by number.
    with growing_folder(plan.target) as temporary:
        return _write_into(temporary, plan, copy, processes)


def _write_into(folder: Path, plan: HidingPlan, copy: bool, processes: int) -> tuple[list[str], list[str]]:
    for case in plan.cases:
        (folder / case.role.images).mkdir(parents=True, exist_ok=True)
        if case.label:
            (folder / case.role.labels).mkdir(exist_ok=True)
    allowed = tuple(all_values(plan.dataset_json))
    ending = plan.dataset_json["file_ending"]
    labelled = {case.name: list(case.images) for case in plan.cases if case.label}
    reader = reader_class_of(plan.dataset_json, first_image(labelled))
    root = plan.target.parent
    jobs = {case.name: _Job(case, folder, ending, allowed, copy, reader, root) for case in plan.cases}
    written, errors = run_all(_write_case, {name: (job,) for name, job in jobs.items()}, processes, "Cases")
    if errors:
        lines = "\n".join(f"- {case}: {error}" for case, error in errors.items())
        raise UserError(
            f"{len(errors)} of {len(jobs)} case(s) of {plan.source} cannot be used:\n{lines}\n"
            f"Nothing was written. Correct or remove these cases in {plan.source}, then run the command again."
        )
    shown = {value for case in plan.of(Role.LABELLED) for value in written[case.name].values}
    notes = [f"Corrected {name}: {item.note}" for name, item in written.items() if item.note]
    warnings = _missing_classes(plan, shown)
    write_json(plan.dataset_json, folder / "dataset.json")
    return notes, warnings


def _missing_classes(plan: HidingPlan, shown: set[int]) -> list[str]:
    """Look for classes that none of the labelled cases shows: few cases may be the healthy ones."""
    way_out = "choose other cases with another --seed, more with --num_labelled, or name them with --labelled_cases"
    missing = absent_classes(plan.dataset_json, shown)
    if missing and len(missing) == len(class_values(plan.dataset_json)):
        names = listing(plan.dataset_json[DATASET_RECORD][LABELLED_CASES])
        raise UserError(f"None of the chosen labelled cases ({names}) has foreground in its label: {way_out}.")
    if missing:
        return [f"no labelled case shows {listing(missing)}, which cannot be learned: {way_out}."]
    return []


def _write_case(job: _Job) -> _Written:
    """Link or copy one case; rewrite its label unless it is an integer image on the grid of the scan."""
    for image in job.case.images:
        if not os.path.isfile(image):
            raise UserError(f"{image} is missing or a broken link. Restore the file.")
    written = _Written()
    if job.case.label:
        destination = job.folder / job.case.role.labels / f"{job.case.name}{job.ending}"
        if issubclass(job.reader, SimpleITKIO):
            corrected, written = _corrected_label(job, job.case.label)
        else:
            corrected, written = None, _Written(values=_values_by_reader(job, job.case.label))
        if corrected is None:
            _place(job.case.label, destination, job, is_label=True)
        else:
            write_image(corrected, destination)
    for channel, image in enumerate(job.case.images):
        destination = job.folder / job.case.role.images / f"{job.case.name}_{channel:04d}{job.ending}"
        _place(image, destination, job)
    return written


def _values_by_reader(job: _Job, path: str) -> tuple[int, ...]:
    """Check a label with the dataset's own reader, for formats and headers that SimpleITK does not read."""
    report = check_label(list(job.case.images[:1]), path, list(job.allowed), job.reader)
    if report.all_faults:
        raise UserError(f"{Path(path).parent}: {'; '.join(report.all_faults)}. Correct the file.")
    return report.values


def _corrected_label(job: _Job, path: str) -> tuple[sitk.Image | None, _Written]:
    """Return the corrected label, or None if its file is fine, and what was found."""
    label = read_image(path)
    array, values = integer_values(label, path)
    check_values(values, job.allowed, path)
    image_grid, label_grid = read_grid(job.case.images[0]), Grid.of(label)
    if not same_spacing(image_grid, label_grid):
        raise UserError(
            f"{path} has another voxel grid than its image: {label_grid} instead of {image_grid}. "
            "Resample the label to the grid of the image."
        )
    if turned(image_grid.direction, label_grid.direction):
        raise UserError(
            f"{path} has another direction than its image: one of them is flipped or turned. Compare them in a viewer, "
            "and correct the wrong header or flip the voxels."
        )
    reasons = []
    if label.GetPixelIDValue() in (sitk.sitkFloat32, sitk.sitkFloat64):
        reasons.append(f"stored as {label.GetPixelIDTypeAsString()}")
    # nnU-Net pairs voxels by index and ignores origin and direction, so those of the image count.
    if (distance := corner_distance(image_grid, label_grid)) > ROUNDING:
        reasons.append(f"origin or direction up to {distance:.3g} voxels off the image's")
    if not reasons:
        return None, _Written(values=tuple(values))
    corrected = sitk.GetImageFromArray(array)
    corrected.SetSpacing(image_grid.spacing)
    corrected.SetOrigin(image_grid.origin)
    corrected.SetDirection(image_grid.direction)
    note = f"label rewritten as integers on the grid of the image ({'; '.join(reasons)})"
    return corrected, _Written(note, tuple(values))


def link_text(source: str | Path, folder: str | Path, raw_root: str | Path) -> str:
    """Return a link to a file that still leads there after ``nnUNet_raw`` as a whole was moved or mounted elsewhere.

    Args:
        source: File to link to.
        folder: Folder of the link, below ``nnUNet_raw``.
        raw_root: ``nnUNet_raw``, which may itself be a link.

    Returns:
        Relative path below ``nnUNet_raw``; links from one dataset to the next are followed to their file.
    """
    root, real_folder = os.path.realpath(raw_root), os.path.realpath(folder)
    inside = os.path.relpath(os.path.abspath(source), os.path.abspath(raw_root))
    target = os.path.realpath(source)
    if os.path.commonpath([target, root]) != root:  # a link of the source that leads out of nnUNet_raw
        target = os.path.join(root, inside) if not inside.startswith(os.pardir) else os.path.abspath(source)
    return os.path.relpath(target, real_folder)


def _place(source: str, destination: Path, job: _Job, is_label: bool = False) -> None:
    for file, place in with_companions(source, destination, is_label):
        if not os.path.lexists(place):  # all channels share the spacing of a TIFF case
            _link_or_copy(file, place, job)


def _link_or_copy(source: Path, destination: Path, job: _Job) -> None:
    if job.copy:
        shutil.copyfile(source, destination)
        return
    link = link_text(source, destination.parent, job.raw_root)
    try:
        destination.symlink_to(link)
    except OSError as error:
        raise UserError(
            f"Cannot make the symbolic link {destination}: {error}. Use --copy on file systems without links."
        ) from error
