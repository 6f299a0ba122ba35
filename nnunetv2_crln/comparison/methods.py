"""List the methods that can be compared, and their trainings."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nnunetv2_crln.errors import UserError, did_you_mean
from nnunetv2_crln.layout import EVALUATION_FILE, FACTS_FILE
from nnunetv2_crln.utilities.files import read_json

SUPERVISED, RECIPE = "supervised", "recipe"
TRAINERS = {
    SUPERVISED: "nnUNetTrainer",
    "mean_teacher": "nnUNetTrainer_MeanTeacher",
    "crln_no_cps": "nnUNetTrainer_CRLN_noCPS",
    "crln": "nnUNetTrainer_CRLN",
    RECIPE: "nnUNetTrainer",  # on the labelled cases and the supervised model's predictions of the unlabelled ones
}
SHORT = "_short"


@dataclass(frozen=True)
class CompareOptions:
    """Values of the command line.

    Attributes:
        dataset_id: Number of the dataset.
        configuration: Name of a configuration in the plans.
        methods: Names in :data:`TRAINERS`; the first one is the baseline.
        folds: Numbers of the folds, whose validation cases are the held-out ones.
        plans_name: Name of the plans.
        epochs: Number of epochs with the short schedule; None trains for nnU-Net's own number.
        device: Device: ``cuda``, ``cpu`` or ``mps``.
        gpus: GPUs that train at the same time, one training each.
        at_once: Number of trainings at the same time on one device, if ``gpus`` is empty.
        measure: Measure a few steps of each method first.
        output: Folder for logs, predictions, table and report.
    """

    dataset_id: int
    configuration: str
    methods: tuple[str, ...] = ("supervised", "mean_teacher", "crln")
    folds: tuple[int, ...] = (0,)
    plans_name: str = "nnUNetPlans"
    epochs: int | None = None
    device: str = "cuda"
    gpus: tuple[int, ...] = ()
    at_once: int = 1
    measure: bool = True
    output: Path = Path("comparison")

    def __post_init__(self) -> None:
        for name in self.methods:
            if name not in TRAINERS:
                raise UserError(
                    f"--methods {name}: expected some of {', '.join(TRAINERS)}.{did_you_mean(name, TRAINERS)}"
                )
        if len(set(self.methods)) < max(2, len(self.methods)):
            raise UserError(f"--methods {' '.join(self.methods)}: expected two or more different ones, baseline first.")
        if self.epochs is not None and self.epochs < 1:
            raise UserError(f"--epochs {self.epochs}: expected 1 or more.")
        if self.gpus and self.device != "cuda":
            raise UserError(f"--gpus needs -device cuda, found -device {self.device}. Drop one of them.")
        if self.at_once < 1:
            raise UserError(f"--at_once {self.at_once}: expected 1 or more.")
        if len(set(self.folds)) < len(self.folds):
            raise UserError(f"-f {' '.join(map(str, self.folds))}: a fold is named twice.")

    def evaluation_file(self, method: str) -> Path:
        """Return the file with the evaluation of a method, in the folder of its predictions."""
        return self.output / "predictions" / method / EVALUATION_FILE

    def report_file(self, method: str) -> Path:
        """Return the report page about a method other than the baseline."""
        return self.output / f"report_{method}.html"


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
        return (self.folder / "checkpoint_final.pth").is_file() and (self.validation / "summary.json").is_file()

    @property
    def began_with_trained_weights(self) -> bool:
        """Check whether the training was started with ``-pretrained_weights``; unknown for nnU-Net's own trainer."""
        with contextlib.suppress(OSError, ValueError):
            facts = read_json(self.folder / FACTS_FILE)
            return isinstance(facts, dict) and bool(facts.get("pretrained"))
        return False


def trainings(options: CompareOptions, results: Path, plans_name: str) -> list[Training]:
    """List the trainings of a comparison, all methods of a fold before the next fold.

    Args:
        options: Options of the command.
        results: ``nnUNet_results/DatasetXXX_Name``.
        plans_name: Name of the plans to train with.

    Returns:
        The trainings.
    """
    return [
        _training(method, fold, options, results, plans_name) for fold in options.folds for method in options.methods
    ]


def teacher_of(recipe: Training, options: CompareOptions, results: Path, plans_name: str) -> Training:
    """Return the supervised training whose predictions a recipe learns from.

    Args:
        recipe: Training of the method ``recipe``.
        options: Options of the command.
        results: ``nnUNet_results/DatasetXXX_Name``.
        plans_name: Name of the plans to train with.

    Returns:
        The training, which the comparison may contain already.
    """
    return _training(SUPERVISED, recipe.fold, options, results, plans_name)


def _training(method: str, fold: int, options: CompareOptions, results: Path, plans_name: str) -> Training:
    trainer = TRAINERS[method] + (SHORT if options.epochs else "")
    environment = {}
    if method == RECIPE:  # its dataset has the name and the plans of the original, in folders of its own
        place = options.output.resolve() / RECIPE / f"{plans_name}_{options.configuration}_fold{fold}"
        environment = {name: str(place / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
        results = Path(environment["nnUNet_results"]) / results.name
    model = results / f"{trainer}__{plans_name}__{options.configuration}"
    return Training(method, trainer, fold, model / f"fold_{fold}", environment)
