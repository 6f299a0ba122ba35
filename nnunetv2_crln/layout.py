"""Define every folder, file name and key that this plugin adds to nnU-Net's, each in one place."""

from __future__ import annotations

from pathlib import Path

# --- nnUNet_raw/DatasetXXX_Name ---------------------------------------------------------------------------------------

IMAGES_LABELLED = "imagesTr"
LABELS_LABELLED = "labelsTr"
IMAGES_TEST = "imagesTs"
LABELS_TEST = "labelsTs"
IMAGES_UNLABELLED = "imagesUl"
LABELS_UNLABELLED = "labelsUl"
IMAGE_DIGESTS_FILE = ".crln_image_digests.json"
RAW_LOCK = ".crln_dataset.lock"
ADDED_FILE = "crln_added_unlabelled.csv"
PSEUDO_LABELS_FILE = "crln_pseudo_labels.csv"
RANKING_LOCK = ".crln_ranking.lock"
INCOMING_FOLDER = ".crln_incoming"
"""Scans that are being added, until they are checked."""
UNFINISHED_CONVERSION_FILE = "dataset.json.incomplete"
"""dataset.json of a conversion that has not ended, and its cases."""

# --- keys -------------------------------------------------------------------------------------------------------------

SHORT_SCHEDULE = "short_schedule"
"""Key in a configuration of the plans: length and learning rate of the trainers that end in ``_short``."""
PLANS_BLOCK = "crln"
"""Settings, in a configuration of the plans."""

CHECKPOINT_STATE = "crln"
"""State of the plugin in a checkpoint, beside nnU-Net's own keys."""

FINGERPRINT_RECORD = "crln"
"""Record of the images that the fingerprint was made from, in dataset_fingerprint.json."""

CASE_RECORD = "crln"
"""Record of the files that an unlabelled case was preprocessed from, in its properties."""

CASE_LANDMARKS = "crln_landmarks"
"""Landmarks of an unlabelled case for histogram matching, in its properties."""

DATASET_RECORD = "crln"
"""Record of the choices of a conversion, in dataset.json; users add what nnU-Net's own keys cannot say."""

NUM_LABELLED = "num_labelled"
LABELLED_CASES = "labelled_cases"
PSEUDO_LABELLED_CASES = "pseudo_labelled_cases"
"""How many cases are labelled, their names, and those with a label by a network, in that record."""

ANNOTATED_LABELS = "annotated_labels"
"""Annotated classes by labelled case, in that record."""

UNLABELLED_GROUPS = "unlabelled_groups"
"""Patterns of the names of unlabelled cases by group, in that record."""

CURVE_PREFIX = "crln_"
"""Prefix of the plugin's keys in nnU-Net's logger."""
MONITORED = (
    "monitor_confidence_raw",
    "monitor_confidence",
    "monitor_changed",
    "monitor_foreground",
    "pseudo_dice_raw",
    "pseudo_dice",
    "pseudo_dice_map",
)
"""Curves measured at the end of an epoch on a few fixed unlabelled patches; NaN in epochs without a measurement."""

# --- nnUNet_preprocessed/DatasetXXX_Name ------------------------------------------------------------------------------

SPLITS_FILE = "splits_final.json"
VALIDATION_LABELS = "gt_segmentations"
"""nnU-Net's copy of the labels, which its validation reads."""
NUM_FOLDS = 5
"""Folds of the split that nnU-Net makes by itself."""
OUTDATED_MARK = ".crln_outdated"
"""Empty folder among preprocessed labelled cases that are about to be replaced."""
SMALL_PLANS_SUFFIX = "_small"
"""Behind the name of the plans for CPUs and laptops."""
REPLACED_SUFFIX = ".replaced"
"""Behind the file name of plans that were made again, before a number if there are several."""
UNFINISHED_CASES_PREFIX = "incomplete_"
"""Folders in that of the preprocessed unlabelled cases, each with what one process is writing."""


def unlabelled_folder(preprocessed_dataset_folder: str | Path, data_identifier: str) -> Path:
    """Return the folder of the preprocessed unlabelled cases of one configuration.

    Args:
        preprocessed_dataset_folder: ``nnUNet_preprocessed/DatasetXXX_Name``.
        data_identifier: Entry of the plans' configuration, e.g. ``nnUNetPlans_3d_fullres``.

    Returns:
        ``nnUNet_preprocessed/DatasetXXX_Name/<data_identifier>_unlabelled``.
    """
    return Path(preprocessed_dataset_folder) / f"{data_identifier}_unlabelled"


def labelled_info_file(preprocessed_data_folder: str | Path) -> Path:
    """Return the file that records the plans of the preprocessed labelled cases.

    Args:
        preprocessed_data_folder: ``nnUNet_preprocessed/DatasetXXX_Name/<data_identifier>``.
    """
    folder = Path(preprocessed_data_folder)
    return folder.with_name(f"{folder.name}_labelled_info.json")


def unlabelled_info_file(folder: str | Path) -> Path:
    """Return the file that records the expected cases and the plans' hash.

    It is beside the folder, because nnU-Net allows no JSON file in it.

    Args:
        folder: :func:`unlabelled_folder`.
    """
    folder = Path(folder)
    return folder.with_name(f"{folder.name}_info.json")


def data_lock_file(preprocessed_data_folder: str | Path) -> Path:
    """Return the lock file of the preprocessed labelled cases.

    Trainings share the lock; a command that deletes and rewrites the cases holds it exclusively.

    Args:
        preprocessed_data_folder: ``nnUNet_preprocessed/DatasetXXX_Name/<data_identifier>``.
    """
    folder = Path(preprocessed_data_folder)
    return folder.with_name(f".{folder.name}.lock")


def use_lock_file(unlabelled_folder: str | Path) -> Path:
    """Return the lock file that trainings share while they read preprocessed unlabelled cases.

    Args:
        unlabelled_folder: ``nnUNet_preprocessed/DatasetXXX_Name/<data_identifier>_unlabelled``.
    """
    folder = Path(unlabelled_folder)
    return folder.with_name(f".{folder.name}.in_use.lock")


# --- nnUNet_results/DatasetXXX_Name/TRAINER__PLANS__CONFIGURATION/fold_X ----------------------------------------------

# nnU-Net's names.
FOLD_PREFIX = "fold_"
VALIDATION_SUMMARY = "summary.json"
CHECKPOINT_FINAL = "checkpoint_final.pth"
CHECKPOINT_LATEST = "checkpoint_latest.pth"
CHECKPOINT_BEST = "checkpoint_best.pth"

FORMER_SUFFIX = ".former"
"""Behind the names of a former model's checkpoints, until the training that replaces it has ended."""
FOLD_LOCK = ".crln_training.lock"
FACTS_FILE = "crln_training.json"
OVERLAY_FOLDER = "crln_overlays"
DOMAIN_FILE = "crln_domain_shift.json"
GROUP_CURVES_FILE = "crln_group_curves.json"
QUALITY_FILE = "pseudo_label_quality.json"
PROGRESS_FILE = "progress_crln.png"
EVALUATION_FILE = "summary_crln.json"
"""Not summary.json: nnU-Net writes one of that name into its validation folders and reads it again."""
REPORT_FILE = "report.html"
"""In the folder of the model."""


def claim_file(fold: str | Path) -> Path:
    """Return the lock file of the comparison that trains a fold.

    It is beside the model, so that nothing appears of a training that does not begin. It is not :data:`FOLD_LOCK`: the
    training itself takes that one, in another process.

    Args:
        fold: ``.../fold_X``.
    """
    model = Path(fold).parent
    return model.with_name(f".{model.name}_{Path(fold).name}.lock")


def refresh_folder(fold: str | Path) -> Path:
    """Return the folder of the whole-volume refreshes of a fold.

    Args:
        fold: ``.../fold_X``.
    """
    return Path(fold) / "crln_refreshes"


# --- folder of a comparison -------------------------------------------------------------------------------------------

COMPARISON_FILE = "comparison.md"
COMPARISON_LOCK = ".crln_comparison.lock"
COMPARISON_MARK = ".crln_comparison"
"""In a folder of predictions that a comparison has made and may replace."""
MEASURED_STEPS_FILE = "measured_steps.json"

# --- names of datasets ------------------------------------------------------------------------------------------------


def dataset_number(dataset_name: str) -> str:
    """Return the number in ``DatasetXXX_Name``, as ``-d`` takes it.

    Example:
        >>> dataset_number("Dataset104_Heart"), dataset_number("Dataset1042_Heart")
        ('104', '1042')
    """
    return dataset_name.removeprefix("Dataset").split("_", 1)[0]


def model_name(trainer: str, plans: str, configuration: str) -> str:
    """Compose nnU-Net's name of a model folder.

    Args:
        trainer: Class name of the trainer.
        plans: Name of the plans.
        configuration: Name of the configuration.

    Returns:
        Name of the folder in ``nnUNet_results/DatasetXXX_Name``.

    Example:
        >>> model_name("nnUNetTrainer_CRLN", "nnUNetPlans", "2d")
        'nnUNetTrainer_CRLN__nnUNetPlans__2d'
    """
    return f"{trainer}__{plans}__{configuration}"


def trainer_and_configuration(model_name: str) -> tuple[str, str]:
    """Split the name of a model folder; the names of plans between them may contain the separator.

    Example:
        >>> trainer_and_configuration("nnUNetTrainer__my__plans__3d_fullres")
        ('nnUNetTrainer', '3d_fullres')
    """
    parts = model_name.split("__")
    return parts[0], parts[-1]


def fold_name(fold_folder: Path) -> str:
    """Return the fold in ``fold_X``, as ``-f`` takes it."""
    return fold_folder.name.removeprefix(FOLD_PREFIX)


def dataset_title(dataset_name: str) -> str:
    """Return the name after the number in ``DatasetXXX_Name``.

    Example:
        >>> dataset_title("Dataset104_My_Heart"), dataset_title("Dataset1042_Heart")
        ('My_Heart', 'Heart')
    """
    return dataset_name.partition("_")[2]
