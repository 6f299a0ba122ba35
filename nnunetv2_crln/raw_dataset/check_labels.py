"""Check the labels of the labelled cases, and name each wrong file."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnunetv2_crln.errors import UserError, exact, listing
from nnunetv2_crln.layout import ANNOTATED_LABELS, LABELS_LABELLED
from nnunetv2_crln.raw_dataset.annotated_labels import annotated_labels, class_names_of
from nnunetv2_crln.raw_dataset.cases import find_labelled_cases
from nnunetv2_crln.raw_dataset.classes import absent_classes, all_values, class_values
from nnunetv2_crln.raw_dataset.dataset_json import read_dataset_json
from nnunetv2_crln.raw_dataset.image_rules import turned
from nnunetv2_crln.raw_dataset.read_errors import explain_read_error
from nnunetv2_crln.raw_dataset.readers import reader_class_of
from nnunetv2_crln.raw_dataset.survey import direction_of
from nnunetv2_crln.utilities.nifti import find_header_fault, nifti_is_finite
from nnunetv2_crln.utilities.parallel import run_all

_ROUNDING = 1e-3  # far below what interpolation between two classes leaves


@dataclass(frozen=True)
class LabelReport:
    """Faults and values of one label.

    Attributes:
        faults: Faults of it or of its image, each starting with the label's file name.
        values: Values that occur in it.
        headers: Differences between its header and its image's. nnU-Net pairs voxels by index, so that training may be
            right in spite of them.
    """

    faults: list[str]
    values: tuple[int, ...] = ()
    headers: tuple[str, ...] = ()

    @property
    def all_faults(self) -> list[str]:
        """Return the faults of content and headers."""
        return [*self.faults, *self.headers]


def verify_labels(
    raw_dataset_folder: str | Path, processes: int = 1, show_progress: bool = True, strict: bool = True
) -> list[str]:
    """Open every labelled case, and compare its label with dataset.json and its image.

    Args:
        raw_dataset_folder: ``nnUNet_raw/DatasetXXX_Name``, already checked by ``check_dataset``.
        processes: Number of processes that read images.
        show_progress: Show a progress bar.
        strict: Count spacing, direction and invalid headers as errors; else they are warnings.

    Returns:
        Warnings for the user.

    Raises:
        UserError: Labels are wrong; the message names the first few of them.
    """
    folder = Path(raw_dataset_folder)
    dataset_json = read_dataset_json(folder)
    allowed = allowed_values(folder / "dataset.json", dataset_json)
    labelled = find_labelled_cases(folder, dataset_json)
    reader_class = reader_class_of(dataset_json, next(iter(labelled.values()))["images"][0])
    annotated = annotated_labels(dataset_json, list(labelled))
    tasks = {case: (files["images"], files["label"], allowed, reader_class) for case, files in labelled.items()}
    reports, failures = run_all(check_label, tasks, processes, "Opening every label", show_progress)
    texts = {case: report.all_faults if strict else report.faults for case, report in reports.items()}
    texts |= {case: [text] for case, text in failures.items()}
    for case in annotated.keys() & reports.keys():
        lacking = claimed_but_lacking(labelled[case]["label"], reports[case], annotated[case], dataset_json)
        texts[case] = [*texts[case], *lacking]
    errors = [f"{Path(labelled[case]['label']).parent.name}/{text}" for case in texts for text in texts[case]]
    if errors:
        raise UserError(
            f"{folder} has {len(errors)} wrong label(s): {listing(sorted(errors))}. Correct these files, or remove "
            "their cases from imagesTr and labelsTr."
        )
    found = {value for report in reports.values() for value in report.values}
    odd = sorted(text for report in reports.values() for text in report.headers)
    warnings = [f"{len(odd)} label(s) of {folder} do not fit their images: {listing(odd)}. Check them in a viewer."]
    return [*(warnings if odd else []), *missing_classes(folder, dataset_json, found)]


def claimed_but_lacking(
    label: str, report: LabelReport, annotated: frozenset[int], dataset_json: dict
) -> Iterator[str]:
    """Yield a fault if a label holds a class that is not annotated in it according to dataset.json.

    Args:
        label: Label file.
        report: Result of :func:`check_label`.
        annotated: Annotated foreground classes of the case.
        dataset_json: Content of dataset.json.

    Yields:
        The fault.
    """
    if found := class_names_of(dataset_json, set(report.values) - annotated):
        listed = listing(class_names_of(dataset_json, annotated))
        yield (
            f'{Path(label).name} has voxels of {listing(found)}, but "{ANNOTATED_LABELS}" of dataset.json lists '
            f"{listed} alone for this case: add the class there, or remove these voxels"
        )


def missing_classes(folder: Path, dataset_json: dict, found: Collection[int]) -> Iterator[str]:
    """Yield a warning for classes that no labelled case holds.

    Args:
        folder: Folder of the dataset, for the message.
        dataset_json: Content of dataset.json, which names the classes.
        found: All values in the labels.

    Yields:
        One warning, or none.

    Raises:
        UserError: There is no foreground at all.
    """
    missing = absent_classes(dataset_json, found)
    if missing and len(missing) == len(class_values(dataset_json)):
        raise UserError(
            f"None of the labels in {folder / LABELS_LABELLED} has foreground: they hold the value(s) "
            f"{sorted(found)} alone. Add or choose labelled cases that show {listing(missing)}, or correct the labels."
        )
    if missing:
        yield (
            f"{len(missing)} class(es) occur in no label of {folder / LABELS_LABELLED}: {listing(missing)}. They "
            "cannot be learned: add a labelled case that shows them."
        )


def allowed_values(path: Path, dataset_json: dict) -> list[int]:
    """Return the values that may occur in a label.

    Args:
        path: Path of dataset.json, for the message.
        dataset_json: Content of dataset.json.

    Returns:
        Sorted values.

    Raises:
        UserError: The values are not 0, 1, 2 and so on, or the ignore label is not the last one.
    """
    values, labels = all_values(dataset_json), dataset_json["labels"]
    in_place = labels["background"] == 0 and labels.get("ignore", values[-1]) == values[-1]
    if values != list(range(len(values))) or not in_place:
        raise UserError(
            f"{path}: 'labels' has the values {values}; nnU-Net expects the number 0 (background) to {len(values) - 1} "
            "without a gap, the ignore label last. Change the entry and the values in labelsTr."
        )
    return values


def check_label(images: list[str], label: str, allowed: list[int], reader_class: type[BaseReaderWriter]) -> LabelReport:
    """Read one label and its image, and compare them.

    Args:
        images: Channel files of the image.
        label: Label file.
        allowed: Values that may occur.
        reader_class: Reader of nnU-Net for both.

    Returns:
        Faults, and the values that occur.
    """
    name = Path(label).name
    try:
        if not nifti_is_finite(label):
            return LabelReport([f"{name} has NaN or infinite voxels"])
        voxels, properties = reader_class().read_seg(label)
    except Exception as error:
        return LabelReport([f"{name} cannot be read ({explain_read_error(label, error, is_label=True)})"])
    for image in images:
        about = f"{name}: its image {Path(image).name}"
        try:
            finite = nifti_is_finite(image)
            channel, image_properties = reader_class().read_images([image])
        except Exception as error:
            return LabelReport([f"{about} cannot be read ({explain_read_error(image, error)})"])
        if not finite or not np.isfinite(channel).all():
            return LabelReport([f"{about} has NaN or infinite voxels"])
    if len(voxels) != 1:  # one-hot: every channel has the shape of the image, and 0 and 1 are values of a label
        number = voxels.shape[-1] if voxels.shape[:-1] == channel.shape[1:] else len(voxels)  # vectors keep their axis
        return LabelReport(
            [f"{name} has {number} values per voxel; expected one class number: save it as one label image"]
        )
    values = np.unique(voxels)
    faults = []
    if (unknown := np.setdiff1d(values, allowed)).size:
        shown = listing(map(exact, unknown))
        faults.append(f"{name} has the value(s) {shown}, but dataset.json knows {allowed}{_why(unknown, allowed)}")
    if voxels.shape[1:] != channel.shape[1:]:
        faults.append(f"{name} has {voxels.shape[1:]} voxels, its image {channel.shape[1:]}")
    headers = [f"{name} {text}" for text in _differences(properties, image_properties)]
    for broken in (_header_fault(properties, label), _header_fault(image_properties, images[0])):
        headers += [f"{name}: {broken}"] if broken else []
    return LabelReport(faults, tuple(int(value) for value in values if value in allowed), tuple(headers))


def _why(unknown: np.ndarray, allowed: list[int]) -> str:
    """Return the usual reason for such values."""
    if not np.array_equal(unknown, np.round(unknown)) and np.allclose(unknown, np.round(unknown), atol=_ROUNDING):
        return " (class numbers with rounding errors: save the label as whole numbers, without a scale factor)"
    if (unknown != np.round(unknown)).any():
        return " (was it resampled with interpolation?)"
    if unknown.tolist() == [255] and len(allowed) <= 3:
        return " (a mask of 0 and 255: divide it by 255)"
    return ""


def _header_fault(properties: dict, file: str) -> str | None:
    """Return what is not finite in the geometry that was read."""
    stuff = properties.get("sitk_stuff") or properties.get("nibabel_stuff") or {}
    numbers = [*properties["spacing"], *(value for entry in stuff.values() for value in np.ravel(entry))]
    if np.isfinite(np.asarray(numbers, dtype=float)).all() and min(properties["spacing"]) > 0:
        return None
    return f"{Path(file).name} has no valid spacing, origin or direction ({find_header_fault(file) or numbers})"


def _differences(properties: dict, image_properties: dict) -> Iterator[str]:
    """Yield how a label's header differs from its image's; what is not finite is not compared."""
    own, images = (np.asarray(direction_of(each), dtype=float) for each in (properties, image_properties))
    spacings = [np.asarray(each["spacing"], dtype=float) for each in (properties, image_properties)]
    if spacings[0].shape != spacings[1].shape or not np.allclose(spacings[0], spacings[1], equal_nan=True):
        yield f"has the spacing {properties['spacing']} mm, its image {image_properties['spacing']} mm"
    elif turned(own, images):
        yield "has another direction than its image: one of them is flipped or turned"
