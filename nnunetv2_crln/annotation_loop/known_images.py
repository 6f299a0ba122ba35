"""Remember the images of a dataset, so that each is opened once and not at every call."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.layout import IMAGE_DIGESTS_FILE
from nnunetv2_crln.raw_dataset.cases import all_images, source_record
from nnunetv2_crln.raw_dataset.survey import ChannelReport, inspect_case
from nnunetv2_crln.utilities.json_files import read_json, write_json
from nnunetv2_crln.utilities.parallel import run_parallel

Reports = dict[str, list[ChannelReport]]
"""Descriptions of the channel files by ``imagesTr/CASE``."""


def known_images(
    folder: Path, dataset_json: dict, reader_class: type[BaseReaderWriter], processes: int, show_progress: bool = True
) -> Reports:
    """Describe all labelled, unlabelled and test images of a dataset.

    The descriptions are stored beside dataset.json; only new and changed files are opened again.

    Args:
        folder: ``nnUNet_raw/DatasetXXX_Name``.
        dataset_json: Content of dataset.json.
        reader_class: Reader of nnU-Net for the dataset.
        processes: Number of processes that read images.
        show_progress: Show a progress bar.

    Returns:
        Descriptions of all images.

    Raises:
        UserError: An image of the dataset cannot be read and therefore not be compared.
    """
    files = all_images(folder, dataset_json)
    described = [field.name for field in dataclasses.fields(ChannelReport)]  # another version may describe more
    records = {
        name: {"reader": reader_class.__name__, "described": described, "files": source_record(paths)}
        for name, paths in files.items()
    }
    path = folder / IMAGE_DIGESTS_FILE
    kept = _read(path)
    reports = {
        name: [_report(content) for content in kept[name]["reports"]]
        for name, record in records.items()
        if name in kept and {key: kept[name].get(key) for key in record} == record
    }
    tasks = {name: (paths, reader_class) for name, paths in files.items() if name not in reports}
    unreadable = {}
    try:
        description = "Reading the dataset's images"
        for outcome in run_parallel(inspect_case, tasks, processes, description, show_progress, kept=True):
            if outcome.error is None:
                reports[outcome.name] = outcome.value
            else:
                unreadable[outcome.name] = outcome.error
    finally:
        content = {
            name: {**records[name], "reports": [asdict(report) for report in reports[name]]} for name in sorted(reports)
        }
        if tasks:
            write_json(content, path)
    if unreadable:
        texts = [f"{name.split('/')[0]}/{error}" for name, error in sorted(unreadable.items())]
        raise UserError(
            f"{len(unreadable)} image(s) of {folder} cannot be read: {listing(texts)}. Copy these files again, or "
            "remove the cases."
        )
    return reports


def _read(path: Path) -> dict:
    with contextlib.suppress(OSError, ValueError):  # damaged or missing: everything is read again
        content = read_json(path)
        if isinstance(content, dict):
            return content
    return {}


def _report(content: dict[str, Any]) -> ChannelReport:
    fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in content.items()}
    return ChannelReport(**fields)
