"""Find the folder of a trained model as nnU-Net's commands name it: dataset, trainer, plans and configuration."""

from __future__ import annotations

import os
from pathlib import Path

from nnunetv2_crln.errors import UserError, did_you_mean, did_you_mean_path, listing
from nnunetv2_crln.layout import dataset_number
from nnunetv2_crln.raw_dataset.dataset_argument import present_datasets, similar_variable, suggest_dataset


def find_model_folder(dataset_id: int, trainer: str, plans: str, configuration: str) -> Path:
    """Find ``nnUNet_results/DatasetXXX_Name/TRAINER__PLANS__CONFIGURATION``.

    Args:
        dataset_id: Number of the dataset.
        trainer: Class name of the trainer (-tr).
        plans: Name of the plans (-p).
        configuration: Name of the configuration (-c).

    Returns:
        The folder.

    Raises:
        UserError: nnUNet_results is not set, or the model does not exist; the message names the one that was probably
            meant.
    """
    value = os.environ.get("nnUNet_results")
    if not value:
        raise UserError(
            f"The environment variable nnUNet_results is not set{similar_variable('nnUNet_results')}. Expected the "
            "folder of the trained models: export nnUNet_results=/path/to/folder"
        )
    results = Path(value)
    if not results.is_dir():
        raise UserError(f"nnUNet_results is {value!r}, expected an existing folder.{did_you_mean_path(results)}")
    trained = present_datasets("nnUNet_results")
    names = [name for name in trained if int(dataset_number(name)) == dataset_id]
    if len(names) != 1:
        raise UserError(
            f"{len(names)} datasets with number {dataset_id} in {results} (nnUNet_results), expected one. "
            f"Trained there: {listing(trained) or 'none'}.{suggest_dataset(dataset_id, trained)}"
        )
    folder = results / names[0] / f"{trainer}__{plans}__{configuration}"
    if not folder.is_dir():
        models = sorted(path.name for path in folder.parent.iterdir() if path.is_dir())
        raise UserError(
            f"No model {folder.name} in {folder.parent}. Check -tr, -p and -c. "
            f"Models there: {listing(models) or 'none'}.{did_you_mean(folder.name, models)}"
        )
    return folder
