"""Makes a semi-supervised dataset out of a labelled one by hiding labels."""

import os
import random
import shutil
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunetv2_crln.conversion.case_names import read_case_list
from nnunetv2_crln.conversion.datasets import dataset_folder_name, raw_root, refuse_other_names
from nnunetv2_crln.conversion.geometry import ROUNDING, Grid, corner_distance, same_spacing
from nnunetv2_crln.conversion.image_files import read_grid, read_image, write_image, write_json
from nnunetv2_crln.conversion.labels import check_values, integer_values
from nnunetv2_crln.conversion.roles import Role
from nnunetv2_crln.conversion.workers import run_cases
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.unlabelled.cases import (
    find_labelled_cases,
    find_unlabelled_cases,
    list_cases,
    read_dataset_json,
)
from nnunetv2_crln.unlabelled.integrity import listing

CHECKED_ENDINGS = (*SimpleITKIO.supported_file_endings, ".nii")


@dataclass(frozen=True)
class Choice:
    """Which labels stay visible.

    Attributes:
        num_labelled: Number of labelled cases, drawn with ``seed``; None if ``labelled_cases`` names them.
        labelled_cases: File with the names of the labelled cases.
        test_cases: File with the names of labelled cases that become the test set.
        add_test_images: Whether the test images of the source become unlabelled images.
        seed: Seed of the draw.
    """

    num_labelled: int | None = None
    labelled_cases: Path | None = None
    test_cases: Path | None = None
    add_test_images: bool = False
    seed: int = 0


@dataclass(frozen=True)
class SourceCase:
    """One case of the source dataset."""

    name: str
    images: tuple[str, ...]
    label: str | None
    role: Role


@dataclass(frozen=True)
class Plan:
    """What will be written."""

    source: Path
    target: Path
    dataset_json: dict
    cases: tuple[SourceCase, ...]
    left_out: tuple[str, ...]

    def of(self, role: Role) -> list[SourceCase]:
        """The cases of one role."""
        return [case for case in self.cases if case.role is role]


# --- choosing ---------------------------------------------------------------------------------------------------------


def make_plan(source_id: int, target_id: int, choice: Choice, name: str | None = None) -> Plan:
    """Decide the role of each case of a dataset in ``nnUNet_raw``; writes nothing.

    Args:
        source_id: Number of the labelled dataset.
        target_id: Number of the dataset to make.
        choice: Which labels stay visible.
        name: Name after the number; default: the source's.

    Raises:
        UserError: The source is incomplete, the target exists, or the choice is impossible.
    """
    root = raw_root()
    source = _find_source(root, source_id)
    target = root / dataset_folder_name(target_id, name or source.name.split("_", 1)[1])
    _refuse_existing(target, target_id)
    dataset_json = read_dataset_json(source)
    labelled = find_labelled_cases(source, dataset_json)
    _check_labels_exist(source, labelled)
    test_names = _names_from_file(choice.test_cases, labelled, source)
    shown = _labelled_names(choice, labelled, test_names, source)
    cases, left_out = _assign_roles(source, dataset_json, labelled, shown, test_names, choice.add_test_images)
    _refuse_leaks(source, cases)
    if not any(case.role is Role.UNLABELLED for case in cases):
        raise UserError(
            f"All {len(shown)} labelled cases of {source} would stay labelled, none would be unlabelled. "
            "Lower --num_labelled, or add the test images with --add_test_images."
        )
    return Plan(source, target, _new_dataset_json(dataset_json, source, target, choice, shown), tuple(cases), left_out)


def _find_source(root: Path, dataset_id: int) -> Path:
    found = sorted(path for path in root.glob(f"Dataset{dataset_id:03d}_*") if path.is_dir())
    if len(found) != 1:
        names = listing(path.name for path in sorted(root.glob("Dataset*")))
        raise UserError(
            f"{len(found)} folders named Dataset{dataset_id:03d}_… in {root} (nnUNet_raw), expected one. "
            f"Found there: {names or 'nothing'}. Check the number given with -d and the variable nnUNet_raw."
        )
    return found[0]


def _refuse_existing(target: Path, target_id: int) -> None:
    if os.path.lexists(target):
        raise UserError(f"{target} exists already and is not overwritten. Remove it or choose another number with -o.")
    refuse_other_names(target_id, target.name)


def _check_labels_exist(source: Path, labelled: dict[str, dict]) -> None:
    if not labelled:
        raise UserError(f"{source} has no image in imagesTr. Expected a labelled nnU-Net dataset.")
    missing = [case for case, files in labelled.items() if not Path(files["label"]).is_file()]
    if missing:
        raise UserError(
            f"{len(missing)} case(s) in imagesTr of {source} have no label in labelsTr: {listing(missing)}. "
            "Add the labels, or move the images to imagesUl."
        )


def _labelled_names(choice: Choice, labelled: dict[str, dict], test_names: list[str], source: Path) -> list[str]:
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
    names = read_case_list(path)
    unknown = [name for name in names if name not in labelled]
    if unknown:
        raise UserError(
            f"{path} names {len(unknown)} case(s) that {source} has no label for: {listing(unknown)}. "
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
) -> tuple[list[SourceCase], tuple[str, ...]]:
    ending = dataset_json["file_ending"]
    roles = dict.fromkeys(labelled, Role.UNLABELLED)
    roles |= dict.fromkeys(shown, Role.LABELLED) | dict.fromkeys(test_names, Role.TEST)
    cases = [SourceCase(name, tuple(files["images"]), files["label"], roles[name]) for name, files in labelled.items()]
    cases += _image_folder_cases(
        find_unlabelled_cases(source, dataset_json), source / Role.UNLABELLED.labels, ending, Role.UNLABELLED
    )
    test = list_cases(source / Role.TEST.images, ending)
    if test_names and not add_test_images:
        # Beside chosen test cases they would be predicted, but never scored: two test sets in one folder.
        return cases, tuple(test)
    role = Role.UNLABELLED if add_test_images else Role.TEST
    return cases + _image_folder_cases(test, source / Role.TEST.labels, ending, role), ()


def _image_folder_cases(images: dict[str, list[str]], labels: Path, ending: str, role: Role) -> list[SourceCase]:
    def label(name: str) -> str | None:
        path = labels / f"{name}{ending}"
        return str(path) if path.is_file() else None

    return [SourceCase(name, tuple(files), label(name), role) for name, files in images.items()]


def _refuse_leaks(source: Path, cases: Iterable[SourceCase]) -> None:
    twice = [name for name, count in Counter(case.name for case in cases).items() if count > 1]
    if twice:
        raise UserError(
            f"{len(twice)} case name(s) occur in more than one of imagesTr, imagesUl and imagesTs of {source}: "
            f"{listing(twice)}. If they are one image, remove one copy (training on test images makes scores too "
            "good); if not, rename one."
        )


def _new_dataset_json(old: dict, source: Path, target: Path, choice: Choice, shown: list[str]) -> dict:
    # "dataset" would keep nnU-Net reading the source's files; the Decathlon's lists and counts are no longer true.
    kept = {k: v for k, v in old.items() if k not in ("dataset", "training", "test", "numTest")}
    record = {
        "source": source.name,
        "labelled_cases": shown,
        "seed": choice.seed if choice.labelled_cases is None else None,
        "test_images_added": choice.add_test_images,
    }
    return {**kept, "name": target.name, "numTraining": len(shown), "crln": record}


# --- writing ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    case: SourceCase
    folder: Path
    ending: str
    allowed: tuple[int, ...]
    copy: bool


def write(plan: Plan, copy: bool = False, processes: int = 1) -> list[str]:
    """Write the dataset: into a temporary folder beside the target, renamed at the end.

    Args:
        plan: From :func:`make_plan`.
        copy: Copy files instead of linking to them.
        processes: Number of worker processes.

    Returns:
        Notes on labels that were corrected.

    Raises:
        UserError: Some cases cannot be used; all are listed, and nothing is left behind.
    """
    # A leading dot, so that nnU-Net does not find it by its number while it grows.
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
    notes, errors = run_cases(_write_case, jobs, processes, "Cases")
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
    """Link or copy one case; rewrite its label if that is not an integer image on the grid of the scan."""
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
    """The label as it has to be rewritten and why, or two None if its file is fine as it is."""
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
    # nnU-Net pairs voxels by index and never looks at origin and direction, so the image's are the true ones.
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
    # Relative, so that nnUNet_raw can be moved or mounted elsewhere as a whole.
    link = os.path.relpath(os.path.abspath(source), os.path.realpath(destination.parent))
    try:
        destination.symlink_to(link)
    except OSError as error:
        raise UserError(
            f"Cannot make the symbolic link {destination}: {error}. Use --copy on file systems without links."
        ) from error
