"""Find trained models and their folds in ``nnUNet_results``."""

from __future__ import annotations

from pathlib import Path

from nnunetv2_crln.errors import UserError, did_you_mean, did_you_mean_path, listing
from nnunetv2_crln.layout import dataset_number, model_name
from nnunetv2_crln.raw_dataset.dataset_argument import present_datasets, suggest_dataset
from nnunetv2_crln.raw_dataset.environment import required_folder


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
    results = required_folder("nnUNet_results")
    if not results.is_dir():
        raise UserError(f"nnUNet_results is {str(results)!r}, expected an existing folder.{did_you_mean_path(results)}")
    trained = present_datasets("nnUNet_results")
    names = [name for name in trained if int(dataset_number(name)) == dataset_id]
    if len(names) != 1:
        raise UserError(
            f"{len(names)} datasets with number {dataset_id} in {results} (nnUNet_results), expected one. "
            f"Trained there: {listing(trained) or 'none'}.{suggest_dataset(dataset_id, trained)}"
        )
    folder = results / names[0] / model_name(trainer, plans, configuration)
    if not folder.is_dir():
        models = sorted(path.name for path in folder.parent.iterdir() if path.is_dir())
        raise UserError(
            f"No model {folder.name} in {folder.parent}. Check -tr, -p and -c. "
            f"Models there: {listing(models) or 'none'}.{did_you_mean(folder.name, models)}"
        )
    return folder


def find_folds(model_folder: str | Path) -> list[Path]:
    """Return the fold folders of a model folder, or the folder itself if it is a fold folder.

    Raises:
        UserError: The folder is neither.
    """
    folder = Path(model_folder).resolve()
    if not folder.is_dir():
        raise UserError(
            f"{model_folder} is not a folder. Name the trainer's folder in nnUNet_results or its fold_X."
            f"{did_you_mean_path(folder)}"
        )
    if folder.name.startswith("fold_") and (folder.parent / "plans.json").is_file():
        return [folder]
    folds = sorted(path for path in folder.glob("fold_*") if path.is_dir())
    if not folds or not (folder / "plans.json").is_file():
        raise UserError(
            f"{model_folder} is not a model folder: expected plans.json and fold_X in it. Name a folder like "
            "nnUNet_results/DatasetXXX_Name/TRAINER__PLANS__CONFIGURATION or its fold_X."
        )
    return folds
