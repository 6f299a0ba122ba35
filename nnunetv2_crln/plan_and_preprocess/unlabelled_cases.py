"""Preprocesses imagesUl with the plan's own preprocessor, into a folder that nnU-Net's dataset class reads.

A case is three files, as nnU-Net saves them: ``CASE.b2nd`` (image), ``CASE_seg.b2nd`` (0 inside, -1 outside of the
nonzero region, because there is no label) and ``CASE.pkl`` (properties). They are written elsewhere first and moved to
their final names with the image last, so a killed run leaves no half case. Our own entry in the properties tells from
which files and under which plan a case was made: a later run redoes those that no longer fit, and only those.
``labelsUl`` is never opened.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Container
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from batchgenerators.utilities.file_and_folder_operations import load_pickle
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import CASE_RECORD, dataset_number, unlabelled_folder
from nnunetv2_crln.raw_dataset.cases import find_unlabelled_cases, source_record
from nnunetv2_crln.raw_dataset.dataset_json import read_dataset_json
from nnunetv2_crln.utilities.files import read_json, write_json
from nnunetv2_crln.utilities.nifti import check_nifti_is_complete
from nnunetv2_crln.utilities.parallel import run_parallel

# In the order in which they get their final names: nnU-Net lists cases by the image, so it comes last.
SUFFIXES = ("_seg.b2nd", ".pkl", ".b2nd")
_PLAN_CASE_RECORDS = (
    "preprocessor_name",
    "spacing",
    "normalization_schemes",
    "use_mask_for_norm",
    "resampling_fn_data",
    "resampling_fn_data_kwargs",
    "resampling_fn_seg",
    "resampling_fn_seg_kwargs",
)
# These take no intensity statistics of the labelled cases: one more labelled case need not redo all unlabelled ones.
_SELF_CONTAINED_NORMALISATIONS = {
    "ZScoreNormalization",
    "NoNormalization",
    "RescaleTo01Normalization",
    "RGBTo01Normalization",
}


@dataclass
class PreprocessingResult:
    """What one run did, by case id."""

    folder: Path
    done: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class UnlabelledStatus:
    """State of a preprocessed unlabelled folder, by case id."""

    ready: list[str]
    stale: list[str]
    missing: list[str]


def plan_key(plans_manager: PlansManager, configuration_manager: ConfigurationManager) -> str:
    """Hash of all parts of a plan that change a preprocessed image; patch and batch size do not."""
    configuration = configuration_manager.configuration
    relevant = {key: configuration.get(key) for key in _PLAN_CASE_RECORDS}
    relevant["transpose_forward"] = plans_manager.transpose_forward
    relevant["image_reader_writer"] = plans_manager.plans["image_reader_writer"]
    if not set(configuration_manager.normalization_schemes) <= _SELF_CONTAINED_NORMALISATIONS:
        relevant["intensities"] = plans_manager.foreground_intensity_properties_per_channel
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()[:16]


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
        num_parts: Number of parts the cases are split into, over machines.
        part_id: Which part to do, from 0.
        clean: Redo cases that are already there.
        show_progress: Whether to show a progress bar.
        verbose: Let nnU-Net's preprocessor print details.

    Returns:
        Which cases were done, kept from an earlier run, removed because their images are gone, or failed with which
        error. A failed case stops no other.

    Raises:
        UserError: A process died; finished cases are kept.
    """
    configuration_manager = plans_manager.get_configuration(configuration)
    folder = unlabelled_folder(preprocessed_dataset_folder, configuration_manager.data_identifier)
    folder.mkdir(parents=True, exist_ok=True)
    dataset_json = read_dataset_json(raw_dataset_folder)
    cases = find_unlabelled_cases(raw_dataset_folder, dataset_json)
    key = plan_key(plans_manager, configuration_manager)
    write_json({"plan_key": key, "cases": list(cases)}, info_file(folder))
    result = PreprocessingResult(folder, removed=remove_other_cases(folder, set(cases)))

    # Every n-th case, as nnUNetv2_predict splits: neighbours in a list are often alike in size.
    part = {case: cases[case] for case in list(cases)[part_id::num_parts]}
    if not clean:
        result.kept = [case for case, files in part.items() if is_done(folder, case, key, source_record(files))]
    kept = set(result.kept)
    temporary = _fresh_temporary_folder(folder, num_parts, part_id)
    tasks = {
        case: (case, part[case], folder, temporary, key, plans_manager.plans, configuration, dataset_json, verbose)
        for case in part
        if case not in kept
    }
    description = f"Preprocessing unlabelled cases ({configuration})"
    try:
        for outcome in run_parallel(preprocess_case, tasks, processes, description, show_progress):
            if outcome.error is None:
                result.done.append(outcome.name)
            else:
                result.failed[outcome.name] = outcome.error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return result


def _fresh_temporary_folder(folder: Path, num_parts: int, part_id: int) -> Path:
    """One folder per part, because parts that run at the same time must not clean up after each other."""
    temporary = folder / f"incomplete_{part_id}_of_{num_parts}"
    for leftover in folder.glob("incomplete_*") if num_parts == 1 else [temporary]:
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
) -> None:
    """Preprocess and save one case; it appears in `folder` whole or not at all.

    Args:
        case: Its id.
        files: Its channel files.
        folder: Where it belongs.
        temporary: Folder on the same file system for the unfinished files.
        key: Of :func:`plan_key`.
        plans: nnU-Net's plans.
        configuration: Name of a configuration in them.
        dataset_json: The raw dataset's.
        verbose: Let nnU-Net's preprocessor print details.

    Raises:
        UserError: The image has no finite voxels where it should.
    """
    remove_case(folder, case)
    plans_manager = PlansManager(plans)
    configuration_manager = plans_manager.get_configuration(configuration)
    record = {"plan_key": key, "files": source_record(files)}
    for file in files:
        check_nifti_is_complete(file)
    image, nonzero, properties = configuration_manager.preprocessor_class(verbose=verbose).run_case(
        files, None, plans_manager, configuration_manager, dataset_json
    )
    if not np.isfinite(image).all():
        # One such voxel turns the loss of every batch it is in, and then the network, into NaN.
        raise UserError("the image has NaN or infinite voxels; replace them or remove the case")
    properties[CASE_RECORD] = record
    save_case(image, nonzero, properties, temporary / case, configuration_manager.patch_size)
    for suffix in SUFFIXES:
        os.replace(temporary / f"{case}{suffix}", folder / f"{case}{suffix}")


def save_case(image: np.ndarray, nonzero: np.ndarray, properties: dict, path: Path, patch_size: list[int]) -> None:
    """Save as nnU-Net's preprocessor does.

    Args:
        image: (C, X, Y, Z), preprocessed.
        nonzero: (1, X, Y, Z), 0 inside and -1 outside of the nonzero region.
        properties: nnU-Net's, of the case.
        path: Without suffix.
        patch_size: Of the configuration; decides the chunks, and with them the speed of loading patches.
    """
    image = image.astype(np.float32, copy=False)
    nonzero = nonzero.astype(np.int16, copy=False)
    blocks, chunks = comp_blosc2_params(image.shape, tuple(patch_size), image.itemsize)
    blocks_seg, chunks_seg = comp_blosc2_params(nonzero.shape, tuple(patch_size), nonzero.itemsize)
    nnUNetDatasetBlosc2.save_case(
        image,
        nonzero,
        properties,
        str(path),
        chunks=chunks,
        blocks=blocks,
        chunks_seg=chunks_seg,
        blocks_seg=blocks_seg,
    )


def case_key(folder: str | Path, case: str, names: Container[str] | None = None) -> dict | None:
    """Our entry in the properties of a preprocessed case; None if the case is incomplete or not ours.

    Args:
        folder: Of the preprocessed cases.
        case: Its id.
        names: Of the folder's files, if they are known: one listing is faster than three questions for each case.
    """
    if names is None:
        names = [f"{case}{suffix}" for suffix in SUFFIXES if (Path(folder) / f"{case}{suffix}").is_file()]
    if not all(f"{case}{suffix}" in names for suffix in SUFFIXES):
        return None
    try:
        return load_pickle(str(Path(folder) / f"{case}.pkl")).get(CASE_RECORD)
    except Exception:
        # A damaged file is no reason to stop: the case is done again.
        return None


def is_done(folder: Path, case: str, key: str, files: dict[str, list[int]]) -> bool:
    """Whether a case is complete and was made under this plan from these files."""
    return case_key(folder, case) == {"plan_key": key, "files": files}


def remove_case(folder: Path, case: str) -> None:
    """Delete a preprocessed case, the image first: without it nnU-Net does not see the rest."""
    for suffix in reversed(SUFFIXES):
        (folder / f"{case}{suffix}").unlink(missing_ok=True)


def remove_other_cases(folder: Path, cases: set[str]) -> list[str]:
    """Delete preprocessed cases whose images left imagesUl, or training would go on using them.

    Returns:
        The case ids removed.
    """
    gone = sorted(set(nnUNetDatasetBlosc2.get_identifiers(str(folder))) - cases)
    for case in gone:
        remove_case(folder, case)
    return gone


def info_file(folder: str | Path) -> Path:
    """Where the expected cases and the plan's hash are noted: beside the folder, as nnU-Net allows no JSON inside."""
    folder = Path(folder)
    return folder.with_name(f"{folder.name}_info.json")


def unlabelled_status(
    preprocessed_dataset_folder: str | Path, plans_manager: PlansManager, configuration: str
) -> UnlabelledStatus:
    """Which unlabelled cases are ready for training; needs no raw data.

    Args:
        preprocessed_dataset_folder: ``nnUNet_preprocessed/DatasetXXX_Name``.
        plans_manager: nnU-Net's plans.
        configuration: Name of a configuration in them.

    Returns:
        Cases that are complete and fit the plan, those made under another plan, and those not preprocessed (yet).

    Raises:
        UserError: The unlabelled cases were never preprocessed.
    """
    configuration_manager = plans_manager.get_configuration(configuration)
    folder = unlabelled_folder(preprocessed_dataset_folder, configuration_manager.data_identifier)
    if not info_file(folder).is_file():
        raise UserError(
            f"{folder} has no preprocessed unlabelled cases. "
            "Run nnUNetv2_crln_plan_and_preprocess "
            f"-d {dataset_number(plans_manager.dataset_name)} -c {configuration} first."
        )
    key = plan_key(plans_manager, configuration_manager)
    cases = read_json(info_file(folder))["cases"]
    names = set(os.listdir(folder))
    # Of thousands of small files on a network, many are opened at a time.
    with ThreadPoolExecutor() as pool:
        records = dict(zip(cases, pool.map(lambda case: case_key(folder, case, names), cases), strict=True))
    return UnlabelledStatus(
        ready=[case for case, record in records.items() if record and record["plan_key"] == key],
        stale=[case for case, record in records.items() if record and record["plan_key"] != key],
        missing=[case for case, record in records.items() if not record],
    )
