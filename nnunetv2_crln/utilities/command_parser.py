"""Parse the arguments of every command: help ends with an example, and mistakes get a suggestion."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from nnunetv2_crln.errors import did_you_mean
from nnunetv2_crln.utilities.argument_types import whole_number
from nnunetv2_crln.utilities.cores import one_per_core


class CommandParser(argparse.ArgumentParser):
    """Parser whose help begins with the purpose of the command and ends with an example.

    Args:
        prog: Name of the command, however it was started.
        description: Text that begins with a sentence. Text with line breaks is printed unchanged.
        example: Command lines that a user can copy, one per line.
    """

    def __init__(self, prog: str, description: str, example: str) -> None:
        lines = "\n".join(f"  {line}" for line in example.strip().splitlines())
        super().__init__(prog=prog, description=description, epilog=f"example:\n{lines}", formatter_class=_Formatter)

    def add_processes(self, purpose: str = "worker processes") -> None:
        """Add the flag ``-np``, by default 4 processes and at most one per core."""
        text = f"{purpose}; default: 4, at most one per core"
        self.add_argument("-np", type=whole_number(), default=one_per_core(4), metavar="N", help=text)

    def error(self, message: str) -> NoReturn:
        """Print the usage, the mistake and what was probably meant; exit with status 2."""
        super().error(f"{message.removesuffix('.')}.{self._suggestion(message)}")

    def _suggestion(self, message: str) -> str:
        # argparse passes only its text.
        if wrong := re.search(r"invalid choice: '([^']*)'", message):
            known = [str(choice) for action in self._actions for choice in action.choices or ()]
            return did_you_mean(wrong[1], known)
        if wrong := re.search(r"unrecognized arguments: .*?(?<!\S)(-[^\s=]+)", message):
            return did_you_mean(wrong[1], list(self._option_string_actions))
        return ""


class _Formatter(argparse.HelpFormatter):
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)
