"""List all commands. A new command needs one entry here and one line under ``[project.scripts]``."""

from __future__ import annotations

from dataclasses import dataclass

COMMAND_PREFIX = "nnUNetv2_crln_"


@dataclass(frozen=True)
class Command:
    """Entry of the list.

    Attributes:
        name: Name of the console script.
        summary: Purpose of the command in one line.
        module: Module with ``build_parser()`` and ``main(arguments=None)``; empty for nnU-Net's own commands.
    """

    name: str
    summary: str
    module: str = ""


# In the order in which a user needs them.
COMMANDS: dict[str, tuple[Command, ...]] = {
    "First steps": (
        Command(f"{COMMAND_PREFIX}doctor", "check the installation, or a dataset", "nnunetv2_crln.cli.doctor"),
        Command(f"{COMMAND_PREFIX}demo", "see everything at work on generated data", "nnunetv2_crln.cli.demo"),
    ),
    "Make a dataset with unlabelled images": (
        Command(f"{COMMAND_PREFIX}convert", "convert a public dataset", "nnunetv2_crln.cli.convert"),
        Command(
            f"{COMMAND_PREFIX}hide_labels", "hide most labels of a labelled dataset", "nnunetv2_crln.cli.hide_labels"
        ),
    ),
    "Add scans and annotations": (
        Command(
            f"{COMMAND_PREFIX}add_unlabelled", "add folders of scans to imagesUl", "nnunetv2_crln.cli.add_unlabelled"
        ),
        Command(f"{COMMAND_PREFIX}rank", "choose the scans to annotate next", "nnunetv2_crln.cli.rank"),
        Command(
            f"{COMMAND_PREFIX}add_labels", "turn annotated cases into labelled ones", "nnunetv2_crln.cli.add_labels"
        ),
        Command(
            f"{COMMAND_PREFIX}pseudo_label",
            "write a stock dataset with a model's labels",
            "nnunetv2_crln.cli.pseudo_label",
        ),
    ),
    "Train and predict": (
        Command(
            f"{COMMAND_PREFIX}plan_and_preprocess",
            "plan and preprocess, unlabelled images included",
            "nnunetv2_crln.cli.plan_and_preprocess",
        ),
        Command("nnUNetv2_train", "train, with -tr nnUNetTrainer_CRLN (nnU-Net's command)"),
        Command("nnUNetv2_predict", "predict, with -tr nnUNetTrainer_CRLN (nnU-Net's command)"),
    ),
    "Look at the result": (
        Command(f"{COMMAND_PREFIX}evaluate", "measure predictions, compare two models", "nnunetv2_crln.cli.evaluate"),
        Command(f"{COMMAND_PREFIX}compare", "train and compare methods on held-out cases", "nnunetv2_crln.cli.compare"),
        Command(f"{COMMAND_PREFIX}report", "show a trained model on one page", "nnunetv2_crln.cli.report"),
    ),
    "Deploy": (
        Command(f"{COMMAND_PREFIX}export", "make a model that stock nnU-Net predicts with", "nnunetv2_crln.cli.export"),
    ),
}


def own_commands() -> list[Command]:
    """Return the commands of this package, in order."""
    return [command for group in COMMANDS.values() for command in group if command.module]
