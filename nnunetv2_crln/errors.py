"""The one exception for mistakes a user can fix: commands print its text and exit with status 2."""

from __future__ import annotations

from collections.abc import Iterable


class UserError(ValueError):
    """Bad input. The message says what was found, where, what was expected, and how to fix it."""


def listing(offenders: Iterable[str], limit: int = 5) -> str:
    """Join the first few offenders and, if there are more, add their total.

    Args:
        offenders: Names of what is wrong.
        limit: How many of them to name.

    Returns:
        Text for a message.

    Example:
        >>> listing(["a", "b", "c"], limit=2)
        'a, b, … (3 in total)'
    """
    offenders = list(offenders)
    shown = ", ".join(offenders[:limit])
    return shown if len(offenders) <= limit else f"{shown}, … ({len(offenders)} in total)"
