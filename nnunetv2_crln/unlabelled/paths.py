"""Where the unlabelled cases of a dataset lie, raw and preprocessed."""

from pathlib import Path

IMAGES_UNLABELLED = "imagesUl"
LABELS_UNLABELLED = "labelsUl"


def unlabelled_folder(preprocessed_dataset_folder: str | Path, data_identifier: str) -> Path:
    """Folder of the preprocessed unlabelled cases of one configuration.

    Args:
        preprocessed_dataset_folder: ``nnUNet_preprocessed/DatasetXXX_Name``.
        data_identifier: As in the plans, e.g. ``nnUNetPlans_3d_fullres``.

    Returns:
        ``nnUNet_preprocessed/DatasetXXX_Name/<data_identifier>_unlabelled``.
    """
    return Path(preprocessed_dataset_folder) / f"{data_identifier}_unlabelled"


def data_lock_file(preprocessed_data_folder: str | Path) -> Path:
    """Lock of the preprocessed labelled cases: shared by trainings, held alone by what deletes and writes them.

    Args:
        preprocessed_data_folder: ``nnUNet_preprocessed/DatasetXXX_Name/<data_identifier>``.
    """
    folder = Path(preprocessed_data_folder)
    return folder.with_name(f".{folder.name}.lock")
