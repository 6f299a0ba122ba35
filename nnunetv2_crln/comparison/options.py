"""Options of ``nnUNetv2_crln_compare``, checked before any work starts, and the methods that can be compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nnunetv2_crln.errors import UserError, did_you_mean
from nnunetv2_crln.layout import EVALUATION_FILE

SUPERVISED, RECIPE = "supervised", "recipe"
TRAINERS = {
    SUPERVISED: "nnUNetTrainer",
    "mean_teacher": "nnUNetTrainer_MeanTeacher",
    "crln_no_cps": "nnUNetTrainer_CRLN_noCPS",
    "crln": "nnUNetTrainer_CRLN",
    RECIPE: "nnUNetTrainer",  # on the labelled cases and the supervised model's predictions of the unlabelled ones
}


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
