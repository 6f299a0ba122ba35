"""Write docs/commands.md from the parsers of the commands: python docs/site/write_commands.py."""

import argparse
import re
from importlib import import_module
from pathlib import Path

from nnunetv2_crln.cli.commands import COMMANDS
from nnunetv2_crln.training import variants

PAGE = Path(__file__).parents[1] / "commands.md"
WITH_TRAINERS = "Train and predict"
EXAMPLES = {
    "nnUNetv2_train": """\
nnUNetv2_train 150 3d_fullres 0 -tr nnUNetTrainer_CRLN -pretrained_weights CHECKPOINT   # from a trained network
nnUNetv2_train 150 3d_fullres 0 -tr nnUNetTrainer_CRLN       # from random weights
nnUNetv2_train 150 3d_fullres 0 -tr nnUNetTrainer_CRLN --c   # continue one that was interrupted""",
    "nnUNetv2_predict": "nnUNetv2_predict -d 150 -c 3d_fullres -f 0 -tr nnUNetTrainer_CRLN -i IMAGES -o PREDICTIONS",
}
"""Uses of nnU-Net's own commands, whose parsers tell only of their options."""
ABOUT_TRAINERS = """\
### Trainers

The same name follows `-tr` in training and prediction.

| trainer | training |
|---|---|
| `nnUNetTrainer` | nnU-Net's own, on the labelled cases alone, 1000 epochs |
"""
ABOUT_LENGTHS = """
nnU-Net has supervised trainers of the same lengths, such as `nnUNetTrainer_250epochs`.

The short schedule has {num_epochs} epochs of {num_iterations_per_epoch} iterations, momentum 0.9 and a learning rate of
{initial_lr}, and starts all methods from the same weights. It suits small networks on a CPU (`--small`). To change it,
add for example `"short_schedule": {{"num_epochs": 60}}` to the configuration in the plans. Its other
keys are `num_iterations_per_epoch`, `num_val_iterations_per_epoch`, `initial_lr` and `seed`.

The `_article` trainers are meant for the configuration `3d_article`, which
`nnUNetv2_crln_plan_and_preprocess --article` adds to the plans ([reproducing the paper](reproducing_the_article.md)).
"""


def page() -> str:
    """Return the page: each command with its purpose, an example and its options."""
    parts = [
        "# Commands\n",
        "From the commands' own help (`python docs/site/write_commands.py`). `nnUNetv2_crln` lists all of them.\n",
    ]
    for title, group in COMMANDS.items():
        parts.append(f"## {title}\n")
        for command in group:
            parts.append(f"### {command.name}\n")
            if command.module:
                parts.append(describe(import_module(command.module).build_parser()))
            else:
                parts.append(f"{command.summary[0].upper()}{command.summary[1:]}.\n")
                parts.append(f"```bash\n{EXAMPLES[command.name]}\n```\n")
        if title == WITH_TRAINERS:
            parts.append(trainers())
    return "\n".join(parts)


def trainers() -> str:
    """Return the table of trainers; those that differ in their number of epochs alone share a row."""
    rows: list[str] = []
    lengths: list[int] = []
    for name, trainer in trainer_classes().items():
        if "num_epochs" in vars(trainer).get("training_attributes", {}):
            lengths.append(trainer.training_attributes["num_epochs"])
        else:
            rows.append(f"| `{name}` | {summary(trainer)} |")
    numbers = ", ".join(map(str, sorted(lengths)[:-1]))
    rows.insert(
        1,
        f"| `nnUNetTrainer_CRLN_Nepochs` | CRLN trained for N epochs instead of 1000: N is {numbers} or {max(lengths)} "
        "(`nnUNetTrainer_CRLN_1epoch` without the s) |",
    )
    schedule = ABOUT_LENGTHS.format(**variants.ShortSchedule.schedule_defaults)
    return ABOUT_TRAINERS + "\n".join(rows) + "\n" + schedule


def trainer_classes() -> dict[str, type]:
    """Return the trainers that this package defines, in order, without former names."""
    found = {name: vars(variants)[name] for name in vars(variants) if name in variants.__all__}
    return {name: trainer for name, trainer in found.items() if not str(trainer.__doc__).startswith("Former name")}


def summary(trainer: type) -> str:
    """Return the first sentence of a trainer's docstring."""
    return str(trainer.__doc__).split("\n", 1)[0].rstrip(".").replace("``", "`")


def describe(parser: argparse.ArgumentParser) -> str:
    """Return description, example and options of one command as Markdown."""
    example = re.sub(r"^  ", "", str(parser.epilog).removeprefix("example:\n"), flags=re.MULTILINE)
    example = example.replace("%(prog)s", parser.prog)
    rows = [
        f"| {names(action)} | {text(parser, action)} |"
        for action in parser._actions
        if not isinstance(action, argparse._HelpAction)
    ]
    about = str(parser.description).strip().replace("%%", "%")
    lines = [about, "", "```bash", example, "```", "", "| option | meaning |", "|---|---|", *rows, ""]
    return "\n".join(lines)


def names(action: argparse.Action) -> str:
    """Return the names of an option, with what it takes, as code."""
    taken = action.metavar if isinstance(action.metavar, str) else ""
    if taken and action.nargs in ("+", "*"):
        taken += " …"
    if not action.option_strings:
        return f"`{taken or action.dest}`"
    value = "" if action.nargs == 0 else f" {taken or action.dest.upper()}"
    needed = " (required)" if action.required else ""
    return ", ".join(f"`{name}{value}`" for name in action.option_strings) + needed


def text(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """Return the help of an option with its default and its choices."""
    default = action.default
    shown = " ".join(map(str, default)) if isinstance(default, list) else default
    told = (action.help or "") % {**vars(action), "default": shown, "prog": parser.prog}
    choices = ", ".join(f"`{choice}`" for choice in action.choices or ())
    if choices and str(next(iter(action.choices or ()))) not in told.split(", "):
        told = f"{told.rstrip('.')}. One of {choices}."
    return re.sub(r"\s+", " ", told).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"Written: {PAGE}")
