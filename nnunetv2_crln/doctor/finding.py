"""Findings of the doctor: what was examined, its state and a fix."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from nnunetv2_crln.errors import UserError

OK, NOTE, WARNING, PROBLEM = "ok", "note", "warning", "problem"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        state: ``ok``, ``note``, ``warning`` or ``problem``.
        name: Name of the examined thing.
        found: Result of the check.
        fix: Suggested fix; empty if none is needed.
    """

    state: str
    name: str
    found: str
    fix: str = ""


def as_findings(check: Callable[..., Iterator[Finding]], *arguments: Any) -> Iterator[Finding]:
    """Run a check; an error that it meets is a finding, too.

    Args:
        check: Function that yields findings; its name says what it examines.
        *arguments: Arguments of the check.

    Yields:
        Its findings, and one for an error.
    """
    name = check.__name__.strip("_").replace("_", " ")
    try:
        yield from check(*arguments)
    except UserError as error:
        yield Finding(PROBLEM, name, str(error))
    except Exception as error:  # a broken package can raise anything at import
        yield Finding(PROBLEM, name, f"{type(error).__name__}: {error}", "Repair the package named in this message.")
