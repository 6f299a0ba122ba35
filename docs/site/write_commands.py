"""Write docs/commands.md from the parsers of the commands: python docs/site/write_commands.py."""

import argparse
import re
from importlib import import_module
from pathlib import Path

from nnunetv2_crln.cli.commands import COMMANDS

PAGE = Path(__file__).parents[1] / "commands.md"


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
    return "\n".join(parts)


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
    if not action.option_strings:
        return f"`{taken or action.dest}`"
    value = "" if action.nargs == 0 else f" {taken or action.dest.upper()}"
    needed = " (required)" if action.required else ""
    return ", ".join(f"`{name}{value}`" for name in action.option_strings) + needed


def text(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """Return the help of an option with its default and its choices."""
    told = (action.help or "") % {**vars(action), "prog": parser.prog}
    choices = ", ".join(f"`{choice}`" for choice in action.choices or ())
    if choices and str(next(iter(action.choices or ()))) not in told.split(", "):
        told = f"{told.rstrip('.')}. One of {choices}."
    return re.sub(r"\s+", " ", told).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"Written: {PAGE}")
