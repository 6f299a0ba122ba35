"""Add the unlabelled images to nnU-Net's dataset fingerprint.

With few labelled scans the medians of spacing and shape, and hence target spacing and patch size, are poor estimates.
The planners read the keys "spacings" and "shapes_after_crop": the unlabelled images are appended to both. Intensity
statistics remain those of the labelled foreground, as nnU-Net defines them. The plugin's own key "crln" records the
source of each entry, so that a second run adds nothing twice and reads a changed image again.
"""

from __future__ import annotations

from pathlib import Path

from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero

from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.layout import ANNOTATED_LABELS, FINGERPRINT_RECORD
from nnunetv2_crln.raw_dataset.annotated_labels import annotated_entry
from nnunetv2_crln.raw_dataset.cases import (
    find_labelled_cases,
    find_unlabelled_cases,
    first_image,
    labelled_images,
    source_record,
)
from nnunetv2_crln.raw_dataset.dataset_json import read_dataset_json
from nnunetv2_crln.raw_dataset.read_errors import explain_read_error
from nnunetv2_crln.raw_dataset.readers import reader_class_of
from nnunetv2_crln.utilities.json_files import read_json, write_json
from nnunetv2_crln.utilities.nifti import find_header_fault
from nnunetv2_crln.utilities.parallel import run_parallel

FINGERPRINT = "dataset_fingerprint.json"


class UnreadableCasesError(UserError):
    """Some unlabelled images could not be read.

    Args:
        message: Text for the user.
        none_left: No unlabelled image could be read.
    """

    def __init__(self, message: str, none_left: bool) -> None:
        super().__init__(message)
        self.none_left = none_left


def measure_case(files: list[str], reader_class: type[BaseReaderWriter]) -> dict:
    """Measure the properties of one unlabelled case that planning needs.

    Args:
        files: Channel files of the case.
        reader_class: Reader of nnU-Net that opens them.

    Returns:
        ``spacing`` in mm and ``shape_after_crop`` in voxels, in the image's own axis order, and the files' record.

    Raises:
        UserError: The image cannot be read, or has no valid spacing.
    """
    files_before = source_record(files)
    try:
        image, properties = reader_class().read_images(files)
    except Exception as error:
        raise UserError(explain_read_error(files[0], error)) from error
    if not all(0 < value < float("inf") for value in properties["spacing"]):
        raise UserError(f"has no valid spacing ({find_header_fault(files[0]) or properties['spacing']})")
    cropped, _, _ = crop_to_nonzero(image)
    return {
        "spacing": [float(value) for value in properties["spacing"]],
        "shape_after_crop": [int(size) for size in cropped.shape[1:]],
        "files": files_before,
    }


def labelled_fingerprint_is_stale(raw_dataset_folder: str | Path, preprocessed_dataset_folder: str | Path) -> bool:
    """Check whether the fingerprint was extracted from other labelled cases than the dataset has now.

    nnU-Net keeps an existing fingerprint without checking it. After cases were moved from imagesTr to imagesUl it would
    still use intensities inside labels that are now hidden.

    Args:
        raw_dataset_folder: ``nnUNet_raw/DatasetXXX_Name``.
        preprocessed_dataset_folder: ``nnUNet_preprocessed/DatasetXXX_Name``.

    Returns:
        True if the fingerprint must be extracted again; False if it is up to date or missing.
    """
    path = Path(preprocessed_dataset_folder) / FINGERPRINT
    if not path.is_file():
        return False
    fingerprint = _read_known(path)
    if fingerprint is None:
        return True
    if FINGERPRINT_RECORD in fingerprint:
        return fingerprint[FINGERPRINT_RECORD]["labelled"]["files"] != labelled_record(raw_dataset_folder)
    return len(fingerprint["spacings"]) != len(find_labelled_cases(raw_dataset_folder))


def labelled_cases_are_known(raw_dataset_folder: str | Path, preprocessed_dataset_folder: str | Path) -> bool:
    """Tell whether the fingerprint was made by this command from the labelled cases as they are now.

    Args:
        raw_dataset_folder: ``nnUNet_raw/DatasetXXX_Name``.
        preprocessed_dataset_folder: ``nnUNet_preprocessed/DatasetXXX_Name``; may be missing.

    Returns:
        True if it was, so that these cases were checked before.
    """
    path = Path(preprocessed_dataset_folder) / FINGERPRINT
    if not path.is_file():
        return False
    record = (_read_known(path) or {}).get(FINGERPRINT_RECORD)
    if not record or any(record.get(key) != value for key, value in _meaning(raw_dataset_folder).items()):
        return False
    return record["labelled"]["files"] == labelled_record(raw_dataset_folder)


def note_labelled_cases(
    raw_dataset_folder: str | Path, preprocessed_dataset_folder: str | Path, record: dict[str, dict]
) -> None:
    """Note in a new fingerprint which files it was extracted from; one that has this note keeps it.

    Args:
        raw_dataset_folder: ``nnUNet_raw/DatasetXXX_Name``.
        preprocessed_dataset_folder: ``nnUNet_preprocessed/DatasetXXX_Name``, with nnU-Net's fingerprint.
        record: Result of :func:`labelled_record` from before the extraction: a label may be corrected meanwhile.
    """
    path = Path(preprocessed_dataset_folder) / FINGERPRINT
    fingerprint = read_json(path)
    if FINGERPRINT_RECORD not in fingerprint:
        write_json(_combine(fingerprint, raw_dataset_folder, {}, record), path)


def add_unlabelled_to_fingerprint(
    raw_dataset_folder: str | Path,
    preprocessed_dataset_folder: str | Path,
    processes: int = 1,
    show_progress: bool = True,
) -> dict:
    """Append spacings and shapes of the unlabelled images to ``dataset_fingerprint.json``.

    Args:
        raw_dataset_folder: ``nnUNet_raw/DatasetXXX_Name``.
        preprocessed_dataset_folder: ``nnUNet_preprocessed/DatasetXXX_Name``, with nnU-Net's fingerprint.
        processes: Number of processes that read images.
        show_progress: Show a progress bar.

    Returns:
        The fingerprint as written.

    Raises:
        UserError: Images could not be read; the measurements of the others are kept for the next run.
    """
    path = Path(preprocessed_dataset_folder) / FINGERPRINT
    fingerprint = read_json(path)
    known = fingerprint.get(FINGERPRINT_RECORD, {}).get("unlabelled", {})
    cases = find_unlabelled_cases(raw_dataset_folder)
    measured = {
        case: known[case] for case in cases if case in known and known[case]["files"] == source_record(cases[case])
    }
    failed: dict[str, str] = {}
    todo = {case: files for case, files in cases.items() if case not in measured}
    reader_class = _reader_class(raw_dataset_folder) if todo else None
    tasks = {case: (files, reader_class) for case, files in todo.items()}
    try:
        for outcome in run_parallel(measure_case, tasks, processes, "Fingerprint of unlabelled cases", show_progress):
            if outcome.error is None:
                measured[outcome.name] = outcome.value
            else:
                failed[outcome.name] = outcome.error
    finally:  # after an interruption, too: thousands of scans take an hour
        fingerprint = _combine(fingerprint, raw_dataset_folder, dict(sorted(measured.items())))
        write_json(fingerprint, path)
    if failed:
        texts = [f"{Path(cases[case][0]).name}: {text}" for case, text in sorted(failed.items())]
        raise UnreadableCasesError(
            f"{len(failed)} of {len(cases)} unlabelled cases in {Path(cases[next(iter(failed))][0]).parent} cannot be "
            f"read: {listing(texts)}. Replace or remove them and run the command again; the other cases are kept.",
            none_left=not measured,
        )
    return fingerprint


def _read_known(path: Path) -> dict | None:
    """Read a fingerprint; None if it is damaged, such as one that nnU-Net was writing when it was killed."""
    try:
        fingerprint = read_json(path)
    except ValueError:
        return None
    return fingerprint if isinstance(fingerprint, dict) and "spacings" in fingerprint else None


def _reader_class(raw_dataset_folder: str | Path) -> type[BaseReaderWriter]:
    dataset_json = read_dataset_json(raw_dataset_folder)
    return reader_class_of(dataset_json, first_image(labelled_images(raw_dataset_folder, dataset_json)))


def labelled_record(raw_dataset_folder: str | Path) -> dict[str, dict]:
    """Return what tells whether a file of a labelled case was changed, by case."""
    return {
        case: source_record(files["images"], files["label"])
        for case, files in find_labelled_cases(raw_dataset_folder).items()
    }


def _meaning(raw_dataset_folder: str | Path) -> dict:
    """Return what dataset.json says about the values in the labels."""
    dataset_json = read_dataset_json(raw_dataset_folder)
    annotated = annotated_entry(dataset_json)
    return {"labels": dataset_json["labels"], **({ANNOTATED_LABELS: annotated} if annotated else {})}


def _combine(
    fingerprint: dict,
    raw_dataset_folder: str | Path,
    unlabelled: dict[str, dict],
    record: dict[str, dict] | None = None,
) -> dict:
    """Combine the entries of the labelled cases, which come first, with those of ``unlabelled``."""
    labelled = fingerprint.get(FINGERPRINT_RECORD, {}).get("labelled") or {
        "spacings": fingerprint["spacings"],
        "shapes_after_crop": fingerprint["shapes_after_crop"],
        "files": record or labelled_record(raw_dataset_folder),
    }
    return {
        **fingerprint,
        "spacings": labelled["spacings"] + [case["spacing"] for case in unlabelled.values()],
        "shapes_after_crop": labelled["shapes_after_crop"] + [case["shape_after_crop"] for case in unlabelled.values()],
        FINGERPRINT_RECORD: {
            **_meaning(raw_dataset_folder),
            "labelled": labelled,
            "unlabelled": unlabelled,
        },
    }
