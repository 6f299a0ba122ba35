"""Keep nnU-Net's copy of dataset.json, which trainings read, as planning would make it."""

from __future__ import annotations

from nnunetv2_crln.layout import DATASET_RECORD
from nnunetv2_crln.raw_dataset.dataset_json import read_dataset_json
from nnunetv2_crln.raw_dataset.folders import DatasetFolders
from nnunetv2_crln.utilities.json_files import write_json


def update_dataset_json_copy(folders: DatasetFolders) -> None:
    """Take over the number of labelled cases and the ``"crln"`` block, which change without planning again.

    Args:
        folders: Folders of the dataset; without a copy in ``preprocessed`` nothing happens.
    """
    path = folders.preprocessed / "dataset.json"
    if not path.is_file():
        return
    copy, source = read_dataset_json(path), read_dataset_json(folders.raw)
    changing = ("numTraining", DATASET_RECORD)
    content = {key: value for key, value in copy.items() if key not in changing}
    content |= {key: source[key] for key in changing if key in source}
    if content != copy:
        write_json(content, path)
