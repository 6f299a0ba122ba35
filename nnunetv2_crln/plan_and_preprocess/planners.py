"""Find nnU-Net's planners and preprocessors by name."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import nnunetv2
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

from nnunetv2_crln.errors import UserError, did_you_mean


def find_nnunet_class(package: str, name: str, flag: str) -> type:
    """Find a class of nnU-Net by name, as its commands do.

    Args:
        package: ``experiment_planning`` or ``preprocessing``.
        name: Name of the class.
        flag: Command line flag with that name, for the message.

    Returns:
        The class.

    Raises:
        UserError: nnU-Net has no such class.
    """
    folder = Path(nnunetv2.__path__[0]) / package
    found = recursive_find_python_class(str(folder), name, current_module=f"nnunetv2.{package}")
    if found is None:
        sources = "\n".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
        meant = did_you_mean(name, re.findall(r"^class (\w+)", sources, re.MULTILINE))
        raise UserError(f"{flag} {name}: nnU-Net has no such class in nnunetv2.{package}. Check the spelling.{meant}")
    return found


def planner_default(planner: type, argument: str) -> Any:
    """Return the default of an argument of a planner class.

    Args:
        planner: Planner class of nnU-Net.
        argument: Name of the argument, such as ``plans_name``.

    Returns:
        Its default.
    """
    return inspect.signature(planner).parameters[argument].default
