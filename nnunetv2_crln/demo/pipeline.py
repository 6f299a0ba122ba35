"""Run the whole workflow on the generated dataset: plan, train supervised and with CRLN, predict, evaluate, compare.

Every step is the command that a user would type. Steps whose results exist are skipped, so an interrupted demo
continues where it stopped, and a finished one shows its table again at once.
"""

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nnunetv2_crln import __version__
from nnunetv2_crln.demo.dataset import DATASET_NAME, write_demo_dataset
from nnunetv2_crln.demo.plans import DEMO_PLANS, write_demo_plans
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import EVALUATION_FILE
from nnunetv2_crln.utilities.commands import Command, run_together

BASELINE = "nnUNetTrainer_short"
METHOD = "nnUNetTrainer_CRLN_short"
DATASET_ID = DATASET_NAME.removeprefix("Dataset").split("_")[0]
CONFIGURATION = "3d_fullres"
STAMP = "demo.json"


@dataclass(frozen=True)
class DemoSettings:
    """Settings that determine the results of the demo."""

    labelled: int = 4
    unlabelled: int = 24
    test: int = 10
    seed: int = 0
    epochs: int = 18
    device: str = "cpu"
    trainers: tuple[str, ...] = (BASELINE, METHOD)


FAST = {"labelled": 3, "unlabelled": 6, "test": 3, "epochs": 2}
"""Settings of a look at the workflow; too short to compare methods."""


class Demo:
    """Run the demo in one folder.

    Args:
        output: Folder of the demo.
        settings: Settings of the demo.
    """

    def __init__(self, output: str | Path, settings: DemoSettings):
        self.output = Path(output).resolve()
        self.settings = settings
        self.raw = self.output / "nnUNet_raw" / DATASET_NAME
        self.preprocessed = self.output / "nnUNet_preprocessed" / DATASET_NAME
        self.results = self.output / "nnUNet_results" / DATASET_NAME

    def run(self) -> dict[str, dict]:
        """Run all steps.

        Returns:
            Evaluation of each trainer, by its name, in the order of the settings.

        Raises:
            UserError: The folder contains something else, or a command failed.
        """
        started = time.perf_counter()
        self.write_dataset()
        for name, value in self._variables().items():
            print(f"export {name}={value}")
        self._run([self._plan()])
        write_demo_plans(self.preprocessed, self.settings.epochs, self.settings.seed)
        self._run([self._train(trainer) for trainer in self.settings.trainers])
        self._run([self._predict(trainer) for trainer in self.settings.trainers])
        for trainer in self.settings.trainers:
            self._run([self._evaluate(trainer)])
        for trainer in self.settings.trainers[1:]:
            self._run([self._report(trainer)])
        print(f"\nDone in {(time.perf_counter() - started) / 60:.1f} min{_cpu_time()}.")
        return {trainer: self.summary(trainer) for trainer in self.settings.trainers}

    def write_dataset(self) -> None:
        """Write the raw dataset unless it exists.

        Raises:
            UserError: The folder contains something else.
        """
        self._claim_folder()
        if (self.raw / "dataset.json").is_file():
            return
        settings = self.settings
        write_demo_dataset(self.raw, settings.labelled, settings.unlabelled, settings.test, settings.seed)
        print(
            f"Generated {settings.labelled} labelled, {settings.unlabelled} unlabelled and {settings.test} test hearts "
            f"in {self.raw}"
        )

    def summary(self, trainer: str) -> dict:
        """Read the evaluation of a trainer's predictions for the test cases."""
        from nnunetv2_crln.evaluation.summary_file import load_summary

        return load_summary(self._summary_file(trainer))

    def model_folder(self, trainer: str) -> Path:
        """Return the folder in which nnUNetv2_train stores a trainer's model."""
        return self.results / f"{trainer}__{DEMO_PLANS}__{CONFIGURATION}"

    def _claim_folder(self) -> None:
        """Mark the folder as the demo's; remove results of other settings or another version from it.

        Raises:
            UserError: The folder was not made by the demo.
        """
        wanted = {"version": __version__, **json.loads(json.dumps(asdict(self.settings)))}
        stamp = self.output / STAMP
        if stamp.is_file():
            if json.loads(stamp.read_text(encoding="utf-8")) != wanted:
                print(f"{self.output} holds a demo of other settings: starting afresh.")
                for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "predictions", "logs"):
                    shutil.rmtree(self.output / name, ignore_errors=True)
        elif self.output.exists() and (not self.output.is_dir() or any(self.output.iterdir())):
            raise UserError(
                f"{self.output} exists and was not made by nnUNetv2_crln_demo (no {STAMP} in it). "
                "Choose another folder with -o."
            )
        self.output.mkdir(parents=True, exist_ok=True)
        stamp.write_text(json.dumps(wanted, indent=4) + "\n", encoding="utf-8")

    def _variables(self) -> dict[str, str]:
        names = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
        return {name: str(self.output / name) for name in names}

    def _run(self, commands: Sequence[Command]) -> None:
        environment = {
            **self._variables(),
            "nnUNet_def_n_proc": "1",
            "nnUNet_compile": "false",
            # nnU-Net gives every training as many threads as there are cores. Two trainings whose threads spin while
            # waiting for each other are ten times slower than two whose threads sleep.
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        if any(command.epochs for command in commands):
            environment["nnUNet_n_proc_DA"] = "0"  # patches this small are augmented faster than passed on
        run_together(commands, environment)

    def _log(self, name: str) -> Path:
        return self.output / "logs" / f"{name}.log"

    def _plan(self) -> Command:
        arguments = ["nnUNetv2_crln_plan_and_preprocess", "-d", DATASET_ID, "-c", CONFIGURATION]
        arguments += ["-np", "2", "-npfp", "2", "--verify_dataset_integrity"]
        return Command("planning and preprocessing", arguments, self._log("plan_and_preprocess"), self.preprocessed)

    def _train(self, trainer: str) -> Command:
        arguments = ["nnUNetv2_train", DATASET_ID, CONFIGURATION, "all", "-tr", trainer, "-p", DEMO_PLANS]
        arguments += ["-device", self.settings.device]
        model = self.model_folder(trainer) / "fold_all" / "checkpoint_final.pth"
        return Command(f"training {trainer}", arguments, self._log(f"train_{trainer}"), model, self.settings.epochs)

    def _predict(self, trainer: str) -> Command:
        folder = self.output / "predictions" / trainer
        arguments = ["nnUNetv2_predict", "-d", DATASET_ID, "-c", CONFIGURATION, "-f", "all"]
        arguments += ["-tr", trainer, "-p", DEMO_PLANS, "-i", str(self.raw / "imagesTs"), "-o", str(folder)]
        # Without test-time mirroring: an eighth of the work, for all trainers alike.
        arguments += ["-npp", "1", "-nps", "1", "--disable_tta", "-device", self.settings.device]

        return Command(f"predicting with {trainer}", arguments, self._log(f"predict_{trainer}"), folder)

    def _summary_file(self, trainer: str) -> Path:
        return self.output / "predictions" / trainer / EVALUATION_FILE

    def _evaluate(self, trainer: str) -> Command:
        arguments = ["nnUNetv2_crln_evaluate", str(self.raw / "labelsTs"), str(self.output / "predictions" / trainer)]
        baseline = self.settings.trainers[0]
        if trainer != baseline:
            arguments += ["--compare", str(self.output / "predictions" / baseline)]
        arguments += ["-np", "2"]
        return Command(
            f"evaluating {trainer}", arguments, self._log(f"evaluate_{trainer}"), self._summary_file(trainer)
        )

    def report_file(self, trainer: str) -> Path:
        """Return the path of the report on a trainer's model, compared with the baseline's."""
        return self.output / f"report_{trainer}.html"

    def _report(self, trainer: str) -> Command:
        baseline, output = self.settings.trainers[0], self.report_file(trainer)
        arguments = ["nnUNetv2_crln_report", str(self.model_folder(trainer)), "-o", str(output)]
        arguments += ["--evaluation", str(self._summary_file(trainer))]
        arguments += ["--baseline", str(self.model_folder(baseline))]
        arguments += ["--baseline_evaluation", str(self._summary_file(baseline))]
        return Command(f"report about {trainer}", arguments, self._log(f"report_{trainer}"), output)


def _cpu_time() -> str:
    """Describe the CPU time of all commands: unlike the time on the clock, it is the same on a busy computer."""
    if os.name != "posix":
        return ""
    import resource  # not on Windows

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return f" ({(used.ru_utime + used.ru_stime) / 60:.1f} min of CPU time over all cores)"


def comparison_table(summaries: Mapping[str, Mapping]) -> str:
    """Format Dice and 95 % Hausdorff distance of each class as plain text, with one column per trainer.

    Args:
        summaries: Evaluation of each trainer, by its name.
    """
    first = next(iter(summaries.values()))
    header = ["Dice [%] / 95HD [mm]", *summaries]
    lines = [[name, *(_cell(s["mean"][name]) for s in summaries.values())] for name in first["mean"]]
    lines.append(["mean", *(_cell(s["foreground_mean"]) for s in summaries.values())])
    widths = [max(len(row[column]) for row in [header, *lines]) for column in range(len(header))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)) for row in [header, *lines])


def _cell(metrics: Mapping) -> str:
    return f"{100 * metrics['Dice']['mean']:.1f} / {metrics['HD95_mm']['mean']:.1f}"
