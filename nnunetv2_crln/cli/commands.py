"""List all commands. A new command needs one entry here and one line under ``[project.scripts]``."""

from __future__ import annotations

from dataclasses import dataclass

PREFIX = "nnUNetv2_crln_"


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
        Command(f"{PREFIX}doctor", "check the installation, or a dataset", "nnunetv2_crln.cli.doctor"),
        Command(f"{PREFIX}demo", "see everything at work on generated data", "nnunetv2_crln.cli.demo"),
    ),
    "Make a dataset with unlabelled images": (
        Command(f"{PREFIX}convert", "convert a public dataset", "nnunetv2_crln.cli.convert"),
        Command(f"{PREFIX}hide_labels", "hide most labels of a labelled dataset", "nnunetv2_crln.cli.hide_labels"),
    ),
    "Add scans and annotations": (
        Command(f"{PREFIX}add_unlabelled", "add folders of scans to imagesUl", "nnunetv2_crln.cli.add_unlabelled"),
        Command(f"{PREFIX}rank", "choose the scans to annotate next", "nnunetv2_crln.cli.rank"),
        Command(f"{PREFIX}add_labels", "turn annotated cases into labelled ones", "nnunetv2_crln.cli.add_labels"),
        Command(
            f"{PREFIX}pseudo_label", "write a stock dataset with a model's labels", "nnunetv2_crln.cli.pseudo_label"
        ),
    ),
    "Train and predict": (
        Command(
            f"{PREFIX}plan_and_preprocess",
            "plan and preprocess, unlabelled images included",
            "nnunetv2_crln.cli.plan_and_preprocess",
        ),
        Command("nnUNetv2_train", "train, with -tr nnUNetTrainer_CRLN (nnU-Net's command)"),
        Command("nnUNetv2_predict", "predict, with -tr nnUNetTrainer_CRLN (nnU-Net's command)"),
    ),
    "Look at the result": (
        Command(f"{PREFIX}evaluate", "measure predictions, compare two models", "nnunetv2_crln.cli.evaluate"),
        Command(f"{PREFIX}compare", "train and compare methods on held-out cases", "nnunetv2_crln.cli.compare"),
        Command(f"{PREFIX}report", "show a trained model on one page", "nnunetv2_crln.cli.report"),
    ),
    "Deploy": (
        Command(f"{PREFIX}export", "make a model that stock nnU-Net predicts with", "nnunetv2_crln.cli.export"),
    ),
}


def own_commands() -> list[Command]:
    """Return the commands of this package, in order."""
    return [command for group in COMMANDS.values() for command in group if command.module]
