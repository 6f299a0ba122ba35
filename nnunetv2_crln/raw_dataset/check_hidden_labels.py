"""Check labelsUl on request; its labels only serve to measure, so that faults in them are warnings."""

from __future__ import annotations

from pathlib import Path

from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.layout import LABELS_UNLABELLED
from nnunetv2_crln.raw_dataset.cases import find_unlabelled_cases, first_image, labelled_images
from nnunetv2_crln.raw_dataset.check_labels import allowed_values, check_label
from nnunetv2_crln.raw_dataset.dataset_json import read_dataset_json
from nnunetv2_crln.raw_dataset.readers import reader_class_of
from nnunetv2_crln.utilities.parallel import run_all


def verify_hidden_labels(raw_dataset_folder: str | Path, processes: int = 1, show_progress: bool = True) -> list[str]:
    """Open every label of labelsUl and compare it with dataset.json and its image.

    Only ``--verify_dataset_integrity`` and the doctor do this.

    Args:
        raw_dataset_folder: ``nnUNet_raw/DatasetXXX_Name``, already checked by ``check_dataset``.
        processes: Number of processes that read images.
        show_progress: Show a progress bar.

    Returns:
        One warning, or none.
    """
    folder = Path(raw_dataset_folder)
    dataset_json = read_dataset_json(folder)
    ending = dataset_json["file_ending"]
    images = find_unlabelled_cases(folder, dataset_json)
    labels = {case: folder / LABELS_UNLABELLED / f"{case}{ending}" for case in images}
    present = {case: path for case, path in labels.items() if path.is_file()}
    if not present:
        return []
    try:
        allowed = allowed_values(folder / "dataset.json", dataset_json)
        reader_class = reader_class_of(dataset_json, first_image(labelled_images(folder, dataset_json)))
    except UserError:  # reported by the checks of labelsTr
        return []
    tasks = {case: (images[case], str(path), allowed, reader_class) for case, path in present.items()}
    reports, failures = run_all(check_label, tasks, processes, "Opening every hidden label", show_progress)
    faults = [text for report in reports.values() for text in report.all_faults] + list(failures.values())
    if not faults:
        return []
    return [
        f"{folder / LABELS_UNLABELLED} has {len(faults)} wrong label(s) among {len(present)}: "
        f"{listing(sorted(faults))}. "
        "Pseudo labels of these cases are not measured; training does without. Correct or remove these files."
    ]
