"""Run the whole workflow on the generated dataset: plan, then compare supervised training with CRLN.

Both steps are the commands that a user would type. What has ended is not repeated, so an interrupted demo continues
where it stopped, and a finished one shows its table again at once.
"""

import contextlib
import json
import os
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from unittest import mock

from nnunetv2_crln import __version__
from nnunetv2_crln.comparison.command_queue import QueuedCommand, run_queue
from nnunetv2_crln.comparison.options import CompareOptions
from nnunetv2_crln.demo.dataset import DATASET_NAME, write_demo_dataset, write_demo_split
from nnunetv2_crln.demo.plans import DEMO_PLANS, write_demo_plans
from nnunetv2_crln.demo.settings import DemoSettings
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import dataset_number
from nnunetv2_crln.utilities.json_files import read_json, write_json

DATASET_ID = dataset_number(DATASET_NAME)
CONFIGURATION = "3d_fullres"
STAMP = "demo.json"
_FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
_COMPARISON, _LOGS = "comparison", "logs"

_FOR_A_CPU = {
    "nnUNet_compile": "false",
    "nnUNet_def_n_proc": "1",
    "OMP_NUM_THREADS": "1",  # more threads than cores would spin while waiting for each other
}
_FOR_TRAINING = {"nnUNet_n_proc_DA": "0"}  # patches this small are augmented faster than passed on


class Demo:
    """Run the demo in one folder.

    Args:
        output: Folder of the demo.
        settings: Settings of the demo.

    Raises:
        UserError: A method is unknown.
    """

    def __init__(self, output: str | Path, settings: DemoSettings):
        self.output = Path(output).resolve()
        self.settings = settings
        self.raw = self.output / "nnUNet_raw" / DATASET_NAME
        self.preprocessed = self.output / "nnUNet_preprocessed" / DATASET_NAME
        self.results = self.output / "nnUNet_results" / DATASET_NAME
        self.comparison = CompareOptions(
            dataset_id=int(DATASET_ID),
            configuration=CONFIGURATION,
            methods=settings.methods,
            plans_name=DEMO_PLANS,
            epochs=settings.epochs,
            device=settings.device,
            at_once=2,
            measure=False,  # would start two more interpreters; each training measures its own first steps
            output=self.output / _COMPARISON,
        )

    def run(self) -> str:
        """Run all steps.

        Returns:
            The table of the comparison.

        Raises:
            UserError: The folder contains something else, or a command failed.
        """
        started = time.perf_counter()
        self.write_dataset()
        with _exported({name: str(self.output / name) for name in _FOLDERS} | _FOR_A_CPU):
            self._plan()
            # Imported now: nnU-Net reads some of the variables when it is imported.
            from nnunetv2_crln.comparison.compare import compare

            with _exported(_FOR_TRAINING):
                print(f"\n$ {self.compare_command()}", flush=True)
                table = compare(self.comparison)
        print(f"\nDone in {(time.perf_counter() - started) / 60:.1f} min{_cpu_time()}.")
        return table

    def write_dataset(self) -> None:
        """Write the raw dataset unless it exists.

        Raises:
            UserError: The folder contains something else.
        """
        self._claim_folder()
        if (self.raw / "dataset.json").is_file():
            return
        settings = self.settings
        write_demo_dataset(self.raw, settings.labelled, settings.unlabelled, settings.held_out, settings.seed)
        print(
            f"Generated {settings.labelled} labelled, {settings.unlabelled} unlabelled and {settings.held_out} "
            f"held-out hearts in {self.raw}"
        )

    def compare_command(self) -> str:
        """Return the command line of the comparison, as a user would type it."""
        chosen = self.comparison
        command = ["nnUNetv2_crln_compare", "-d", DATASET_ID, "-c", chosen.configuration, "-p", chosen.plans_name]
        command += ["--methods", *chosen.methods, "--epochs", str(chosen.epochs), "-device", chosen.device]
        command += ["--at_once", str(chosen.at_once), "--no_estimate", "-o", str(chosen.output)]
        return shlex.join(command)

    def _claim_folder(self) -> None:
        """Mark the folder as the demo's; remove results of other settings or another version from it.

        Raises:
            UserError: The folder was not made by the demo.
        """
        wanted = {"version": __version__, **json.loads(json.dumps(asdict(self.settings)))}
        former = _read_stamp(self.output / STAMP)
        if former is None:
            if self.output.exists() and (not self.output.is_dir() or any(self.output.iterdir())):
                raise UserError(
                    f"{self.output} exists and was not made by nnUNetv2_crln_demo (no {STAMP} of it in there). "
                    "Choose another folder with -o."
                )
        elif former != wanted:
            print(f"{self.output} holds a demo of other settings: starting afresh.")
            # Nothing else: users may export nnU-Net's folders, too, and keep datasets of their own in them.
            for folder in (self.raw, self.preprocessed, self.results, self.comparison.output, self.output / _LOGS):
                shutil.rmtree(folder, ignore_errors=True)
        self.output.mkdir(parents=True, exist_ok=True)
        write_json(wanted, self.output / STAMP)

    def _plan(self) -> None:
        """Plan and preprocess, then write the demo's split and plans."""
        arguments = ["nnUNetv2_crln_plan_and_preprocess", "-d", DATASET_ID, "-c", CONFIGURATION]
        # One process: starting another one takes longer than these small images.
        arguments += ["-np", "1", "-npfp", "1", "--verify_dataset_integrity"]
        log = self.output / _LOGS / "plan_and_preprocess.log"
        run_queue([QueuedCommand("planning and preprocessing", arguments, log, self.preprocessed)], [{}])
        write_demo_split(self.preprocessed, self.settings.labelled, self.settings.held_out)
        write_demo_plans(self.preprocessed, self.settings.seed)


def _read_stamp(path: Path) -> dict | None:
    """Return the settings of the demo that made a folder; None if no demo did, whatever a file of this name holds."""
    if not path.is_file():
        return None
    try:
        stamp = read_json(path)
    except ValueError:
        return None
    return stamp if isinstance(stamp, dict) and {"version", "labelled", "unlabelled"} <= stamp.keys() else None


@contextlib.contextmanager
def _exported(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for a while, and show them as a user would set them."""
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")
    with mock.patch.dict(os.environ, variables):
        yield


def _cpu_time() -> str:
    """Describe the CPU time of all commands: unlike the time on the clock, it is the same on a busy computer."""
    if os.name != "posix":
        return ""
    used = os.times()
    seconds = used.user + used.system + used.children_user + used.children_system
    return f" ({seconds / 60:.1f} min of CPU time over all cores)"
