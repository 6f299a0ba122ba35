"""Preprocess imagesUl with the plans' own preprocessor, into a folder that nnU-Net's dataset class reads.

As in nnU-Net, a case consists of three files: ``CASE.b2nd`` (image), ``CASE_seg.b2nd`` (without a label: 0 inside and
-1 outside the nonzero region) and ``CASE.pkl`` (properties). They are written to a temporary folder and then moved to
their final names, the image last, so that a killed run leaves no incomplete case. An entry in the properties records
from which files and under which plans a case was made: a later run redoes exactly those that no longer match.
``labelsUl`` is never opened.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.layout import (
    CASE_LANDMARKS,
    CASE_RECORD,
    UNFINISHED_CASES_PREFIX,
    unlabelled_folder,
    unlabelled_info_file,
)
from nnunetv2_crln.plan_and_preprocess.written_cases import channel_fault, inspect_image
from nnunetv2_crln.preprocessed_dataset.case_files import (
    is_done,
    put_in_place,
    remove_case,
    remove_other_cases,
    save_case,
)
from nnunetv2_crln.preprocessed_dataset.data_locks import refuse_cases_in_use, unlabelled_data_lock
from nnunetv2_crln.preprocessed_dataset.landmarks import landmarks_of_case
from nnunetv2_crln.preprocessed_dataset.plan_key import plan_key
from nnunetv2_crln.raw_dataset.cases import find_unlabelled_cases, number_of_channels, source_record
from nnunetv2_crln.raw_dataset.dataset_json import read_dataset_json
from nnunetv2_crln.raw_dataset.read_errors import explain_read_error
from nnunetv2_crln.utilities.json_files import write_json
from nnunetv2_crln.utilities.nifti import nifti_is_finite
from nnunetv2_crln.utilities.parallel import run_all


@dataclass
class PreprocessingResult:
    """Result of one run, by case identifier."""

    done: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    odd: dict[str, str] = field(default_factory=dict)

    def describe(self, name: str) -> str:
        """Return what was done for the terminal; `name` is that of the configuration or of the data."""
        removed = f"{name}: removed {len(self.removed)} case(s) whose images left imagesUl: {listing(self.removed)}.\n"
        done = f"{name}: {len(self.done)} unlabelled cases preprocessed, {len(self.kept)} already there."
        return (removed if self.removed else "") + done


def preprocess_unlabelled(
    raw_dataset_folder: str | Path,
    preprocessed_dataset_folder: str | Path,
    plans_manager: PlansManager,
    configuration: str,
    processes: int = 1,
    num_parts: int = 1,
    part_id: int = 0,
    clean: bool = False,
    show_progress: bool = True,
    verbose: bool = False,
) -> PreprocessingResult:
    """Preprocess the unlabelled cases of one configuration, or continue doing so.

    Args:
        raw_dataset_folder: ``nnUNet_raw/DatasetXXX_Name``.
        preprocessed_dataset_folder: ``nnUNet_preprocessed/DatasetXXX_Name``.
        plans_manager: nnU-Net's plans.
        configuration: Name of a configuration in them.
        processes: Number of processes, each holding one case in memory.
        num_parts: Number of parts into which the cases are split, for several machines.
        part_id: Index of the part to do, from 0.
        clean: Redo cases that are already preprocessed.
        show_progress: Show a progress bar.
        verbose: Let nnU-Net's preprocessor print details.

    Returns:
        Cases that were preprocessed, kept from an earlier run, removed because their images are gone, or failed, with
        their errors. A failed case does not stop the others.

    Raises:
        UserError: Another command preprocesses the same cases, a training reads some that would be removed or
            replaced, or a process died; finished cases are kept.
    """
    configuration_manager = plans_manager.get_configuration(configuration)
    folder = unlabelled_folder(preprocessed_dataset_folder, configuration_manager.data_identifier)
    folder.mkdir(parents=True, exist_ok=True)
    with unlabelled_data_lock(folder, num_parts, part_id):
        dataset_json = read_dataset_json(raw_dataset_folder)
        cases = find_unlabelled_cases(raw_dataset_folder, dataset_json)
        key = plan_key(plans_manager, configuration_manager)
        # Take every n-th case, as nnUNetv2_predict does: neighbours in a list often have similar sizes.
        part = {case: cases[case] for case in list(cases)[part_id::num_parts]}
        done = [case for case, files in part.items() if is_done(folder, case, key, source_record(files))]
        kept = set() if clean else set(done)
        present = set(nnUNetDatasetBlosc2.get_identifiers(str(folder)))
        refuse_cases_in_use(folder, sorted((present - set(cases)) | (present & set(part)) - kept))
        write_json({"plan_key": key, "cases": list(cases)}, unlabelled_info_file(folder))
        result = PreprocessingResult(removed=remove_other_cases(folder, set(cases)))
        result.kept = [case for case in done if case in kept]
        temporary = _fresh_temporary_folder(folder, num_parts, part_id)
        tasks = {
            case: (case, part[case], folder, temporary, key, plans_manager.plans, configuration, dataset_json, verbose)
            for case in part
            if case not in kept
        }
        description = f"Preprocessing unlabelled cases ({configuration})"
        try:
            oddities, result.failed = run_all(preprocess_case, tasks, processes, description, show_progress, kept=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        result.done = list(oddities)
        result.odd = {case: text for case, text in oddities.items() if text}
        return result


def _fresh_temporary_folder(folder: Path, num_parts: int, part_id: int) -> Path:
    """Make an empty folder per part, because parts that run at the same time must not delete each other's files."""
    temporary = folder / f"{UNFINISHED_CASES_PREFIX}{part_id}_of_{num_parts}"
    for leftover in folder.glob(f"{UNFINISHED_CASES_PREFIX}*") if num_parts == 1 else [temporary]:
        shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir()
    return temporary


def preprocess_case(
    case: str,
    files: list[str],
    folder: Path,
    temporary: Path,
    key: str,
    plans: dict,
    configuration: str,
    dataset_json: dict,
    verbose: bool = False,
) -> str:
    """Preprocess and save one case; it appears in `folder` whole or not at all.

    Args:
        case: Identifier of the case.
        files: Channel files of the case.
        folder: Folder for the finished case.
        temporary: Folder on the same file system for the unfinished files.
        key: Hash of the plans by :func:`plan_key`.
        plans: nnU-Net's plans.
        configuration: Name of a configuration in them.
        dataset_json: Content of the raw dataset's dataset.json.
        verbose: Let nnU-Net's preprocessor print details.

    Returns:
        What is odd about the result, or an empty text.

    Raises:
        UserError: The image cannot be read, or has voxels that are not finite.
    """
    plans_manager = PlansManager(plans)
    configuration_manager = plans_manager.get_configuration(configuration)
    record = {"plan_key": key, "files": source_record(files)}
    try:
        for file in files:
            if not nifti_is_finite(file):  # ITK reads NaN as 0
                raise UserError(f"{Path(file).name} has NaN or infinite voxels: replace them or remove the case")
        image, nonzero, properties = configuration_manager.preprocessor_class(verbose=verbose).run_case(
            files, None, plans_manager, configuration_manager, dataset_json
        )
        found = inspect_image(image, number_of_channels(dataset_json))
        if found.fault:
            raise UserError(found.fault)
    except Exception as error:
        remove_case(folder, case)  # of another version of the image
        raise UserError(
            _surplus_channels(files, plans_manager, dataset_json) or explain_read_error(files[0], error)
        ) from error
    properties[CASE_RECORD] = record
    properties[CASE_LANDMARKS] = landmarks_of_case(image, nonzero)
    save_case(image, nonzero, properties, temporary / case, configuration_manager.patch_size)
    # Only now, because a training may be reading the case as it was.
    remove_case(folder, case)
    put_in_place(temporary, folder, case)
    return found.oddity


def _surplus_channels(files: list[str], plans_manager: PlansManager, dataset_json: dict) -> str:
    """Return why a case failed if it has too many channels, for which the plans have no normalisation."""
    try:
        image, _ = plans_manager.image_reader_writer_class().read_images(files)
    except Exception:
        return ""  # the error of the case says why
    return channel_fault(len(image), number_of_channels(dataset_json))
