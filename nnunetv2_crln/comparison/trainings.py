"""List the trainings of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nnunetv2_crln.comparison.options import RECIPE, SUPERVISED, TRAINERS, CompareOptions
from nnunetv2_crln.layout import CHECKPOINT_FINAL, VALIDATION_SUMMARY, model_name
from nnunetv2_crln.training.monitoring.facts import began_with_trained_weights

SHORT = "_short"


@dataclass(frozen=True)
class Training:
    """One training of a comparison.

    Attributes:
        method: Name in :data:`TRAINERS`.
        trainer: Name for ``nnUNetv2_train -tr``.
        fold: Number of the fold.
        folder: ``fold_X`` of the model.
        environment: nnU-Net's three folders, if they are not those of the user.
    """

    method: str
    trainer: str
    fold: int
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def validation(self) -> Path:
        """Folder of the predictions of the fold's held-out cases, which nnU-Net writes at the end of a training."""
        return self.folder / "validation"

    @property
    def is_finished(self) -> bool:
        """Check whether the training and the prediction of its held-out cases have ended."""
        model, result = self.folder / CHECKPOINT_FINAL, self.validation / VALIDATION_SUMMARY
        # nnU-Net's own trainer keeps the result of a model that it replaces, until it has validated the new one.
        return model.is_file() and result.is_file() and result.stat().st_mtime >= model.stat().st_mtime

    @property
    def began_with_trained_weights(self) -> bool:
        """Check whether the training was started with ``-pretrained_weights``; unknown for nnU-Net's own trainer."""
        return began_with_trained_weights(self.folder)


def trainings(options: CompareOptions, results: Path) -> list[Training]:
    """List the trainings of a comparison, all methods of a fold before the next fold.

    Args:
        options: Options of the command.
        results: ``nnUNet_results/DatasetXXX_Name``.

    Returns:
        The trainings.
    """
    return [_training(method, fold, options, results) for fold in options.folds for method in options.methods]


def teacher_of(recipe: Training, options: CompareOptions, results: Path) -> Training:
    """Return the supervised training whose predictions a recipe learns from.

    Args:
        recipe: Training of the method ``recipe``.
        options: Options of the command.
        results: ``nnUNet_results/DatasetXXX_Name``.

    Returns:
        The training, which the comparison may contain already.
    """
    return _training(SUPERVISED, recipe.fold, options, results)


def _training(method: str, fold: int, options: CompareOptions, results: Path) -> Training:
    trainer = TRAINERS[method] + (SHORT if options.epochs else "")
    environment = {}
    if method == RECIPE:  # its dataset has the name and the plans of the original, in folders of its own
        place = options.output.resolve() / RECIPE / f"{options.plans_name}_{options.configuration}_fold{fold}"
        environment = {name: str(place / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
        results = Path(environment["nnUNet_results"]) / results.name
    model = results / model_name(trainer, options.plans_name, options.configuration)
    return Training(method, trainer, fold, model / f"fold_{fold}", environment)
