"""Write the dataset that hide_labels has planned."""

import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunetv2_crln.dataset_conversion.common.geometry import ROUNDING, Grid, corner_distance, same_spacing
from nnunetv2_crln.dataset_conversion.common.hide_labels import LabelledCase, Plan
from nnunetv2_crln.dataset_conversion.common.image_files import read_grid, read_image, write_image
from nnunetv2_crln.dataset_conversion.common.labels import check_values, integer_values
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.utilities.files import write_json
from nnunetv2_crln.utilities.parallel import run_all

CHECKED_ENDINGS = (*SimpleITKIO.supported_file_endings, ".nii")


@dataclass(frozen=True)
class _Job:
    case: LabelledCase
    folder: Path
    ending: str
    allowed: tuple[int, ...]
    copy: bool


def write(plan: Plan, copy: bool = False, processes: int = 1) -> list[str]:
    """Write the dataset into a temporary folder beside the target, and rename that at the end.

    Args:
        plan: Plan of ``make_plan``.
        copy: Copy files instead of linking to them.
        processes: Number of worker processes.

    Returns:
        Notes on labels that were corrected.

    Raises:
        UserError: Some cases cannot be used; all are listed, and nothing is left behind.
    """
    # The leading dot hides the growing folder from nnU-Net's search by number.
    temporary = plan.target.with_name(f".{plan.target.name}_{uuid.uuid4().hex[:8]}")
    try:
        notes = _write_into(temporary, plan, copy, processes)
        temporary.rename(plan.target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return notes


def _write_into(folder: Path, plan: Plan, copy: bool, processes: int) -> list[str]:
    for case in plan.cases:
        (folder / case.role.images).mkdir(parents=True, exist_ok=True)
        if case.label:
            (folder / case.role.labels).mkdir(exist_ok=True)
    allowed = _label_values(plan.dataset_json["labels"])
    ending = plan.dataset_json["file_ending"]
    jobs = {case.name: _Job(case, folder, ending, allowed, copy) for case in plan.cases}
    notes, errors = run_all(_write_case, {name: (job,) for name, job in jobs.items()}, processes, "Cases")
    if errors:
        lines = "\n".join(f"- {case}: {error}" for case, error in errors.items())
        raise UserError(
            f"{len(errors)} of {len(jobs)} case(s) of {plan.source} cannot be used:\n{lines}\n"
            f"Nothing was written. Correct or remove these cases in {plan.source}, then run the command again."
        )
    write_json(plan.dataset_json, folder / "dataset.json")
    return [f"{case}: {note}" for case, note in notes.items() if note]


def _label_values(labels: dict) -> tuple[int, ...]:
    values = {int(v) for entry in labels.values() for v in (entry if isinstance(entry, (list, tuple)) else [entry])}
    return tuple(sorted(values))


def _write_case(job: _Job) -> str | None:
    """Link or copy one case; rewrite its label unless it is an integer image on the grid of the scan."""
    for image in job.case.images:
        if not os.path.isfile(image):
            raise UserError(f"{image} is missing or a broken link. Restore the file.")
    note = None
    if job.case.label:
        destination = job.folder / job.case.role.labels / f"{job.case.name}{job.ending}"
        corrected, note = _corrected_label(job, job.case.label)
        if corrected is None:
            _place(job.case.label, destination, job.copy)
        else:
            write_image(corrected, destination)
    for channel, image in enumerate(job.case.images):
        _place(image, job.folder / job.case.role.images / f"{job.case.name}_{channel:04d}{job.ending}", job.copy)
    return note


def _corrected_label(job: _Job, path: str) -> tuple[sitk.Image | None, str | None]:
    """Return the corrected label and the reason, or None twice if the label file is fine."""
    if not job.ending.endswith(CHECKED_ENDINGS):
        return None, None
    label = read_image(path)
    array, values = integer_values(label, path)
    check_values(values, job.allowed, path)
    image_grid, label_grid = read_grid(job.case.images[0]), Grid.of(label)
    if not same_spacing(image_grid, label_grid):
        raise UserError(
            f"{path} has another voxel grid than its image: {label_grid} instead of {image_grid}. "
            "Resample the label to the grid of the image."
        )
    reasons = []
    if label.GetPixelIDValue() in (sitk.sitkFloat32, sitk.sitkFloat64):
        reasons.append(f"stored as {label.GetPixelIDTypeAsString()}")
    # nnU-Net pairs voxels by index and ignores origin and direction, so those of the image count.
    if (distance := corner_distance(image_grid, label_grid)) > ROUNDING:
        reasons.append(f"origin or direction up to {distance:.3g} voxels off the image's")
    if not reasons:
        return None, None
    corrected = sitk.GetImageFromArray(array)
    corrected.SetSpacing(image_grid.spacing)
    corrected.SetOrigin(image_grid.origin)
    corrected.SetDirection(image_grid.direction)
    return corrected, f"label rewritten as integers on the grid of the image ({'; '.join(reasons)})"


def _place(source: str, destination: Path, copy: bool) -> None:
    if copy:
        shutil.copyfile(source, destination)
        return
    # Relative links, so that nnUNet_raw as a whole can be moved or mounted elsewhere.
    link = os.path.relpath(os.path.abspath(source), os.path.realpath(destination.parent))
    try:
        destination.symlink_to(link)
    except OSError as error:
        raise UserError(
            f"Cannot make the symbolic link {destination}: {error}. Use --copy on file systems without links."
        ) from error
