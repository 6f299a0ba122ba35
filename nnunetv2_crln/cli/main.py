"""``nnUNetv2_crln``: lists all commands in their usual order, and runs one of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from nnunetv2_crln import __version__
from nnunetv2_crln.cli.commands import COMMAND_PREFIX, COMMANDS, own_commands
from nnunetv2_crln.errors import UserError, did_you_mean
from nnunetv2_crln.utilities.run_command import run


def overview() -> str:
    """Return the list of all commands, grouped and in order."""
    width = max(len(command.name) for group in COMMANDS.values() for command in group)
    lines = [f"Semi-supervised nnU-Net (nnunetv2_crln {__version__}). All commands, in their usual order:"]
    for title, group in COMMANDS.items():
        lines += ["", title]
        lines += [f"  {command.name:{width}}  {command.summary}" for command in group]
    lines += ["", "Each one explains itself with -h, e.g.:", f"  {COMMAND_PREFIX}plan_and_preprocess -h"]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the overview, or run ``nnUNetv2_crln NAME …`` as ``nnUNetv2_crln_NAME …``."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        run(lambda: print(overview()))
    elif given[0] == "--version":
        print(__version__)
    else:
        run(lambda: _run_command(given[0], given[1:]))


def _run_command(name: str, arguments: list[str]) -> None:
    modules = {command.name.removeprefix(COMMAND_PREFIX): command.module for command in own_commands()}
    short = name.removeprefix(COMMAND_PREFIX)
    if short not in modules:
        raise UserError(f"There is no command {name}.{did_you_mean(short, modules)} nnUNetv2_crln lists all commands.")
    import_module(modules[short]).main(arguments)


if __name__ == "__main__":
    main()
