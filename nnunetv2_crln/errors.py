"""Define UserError, whose text commands print and exit with status 2, and word what its messages need."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


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


def exact(value: float) -> str:
    """Format a number so that it is not taken for another one: with six digits 0.9999999 would look like 1.

    Args:
        value: Number, also one of NumPy.

    Returns:
        Shortest text that stands for this number alone.

    Example:
        >>> exact(2.0), exact(0.9999999), exact(1234567)
        ('2', '0.9999999', '1234567')
    """
    short = f"{value:g}"
    return short if float(short) == value else str(value)


def closest(wrong: str, known: Iterable[str], similarity: float = 0.6) -> str | None:
    """Find the known name that is most similar to a wrong one, ignoring case.

    Args:
        wrong: Name that the user typed.
        known: Names that exist.
        similarity: Smallest similarity that counts, from 0 to 1.

    Returns:
        The known name; None if none is similar.
    """
    by_lower_case = {name.lower(): name for name in known if name != wrong}
    matches = difflib.get_close_matches(wrong.lower(), by_lower_case, n=1, cutoff=similarity)
    return by_lower_case[matches[0]] if matches else None


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """Suggest a known name for a wrong one.

    Args:
        wrong: Name that the user typed.
        known: Names that exist.

    Returns:
        Text to append to an error message; empty if nothing is similar.

    Example:
        >>> did_you_mean("3d_fulres", ["2d", "3d_fullres", "3d_lowres"])
        ' Did you mean 3d_fullres?'
    """
    meant = closest(wrong, known)
    return f" Did you mean {meant}?" if meant else ""


def did_you_mean_path(wrong: str | Path) -> str:
    """Suggest an existing name beside the first part of a path that does not exist.

    Args:
        wrong: A path that does not exist.

    Returns:
        Text to append to an error message; empty if nothing resembles.
    """
    missing = Path(wrong)
    while not missing.parent.is_dir() and missing.parent != missing:
        missing = missing.parent
    try:
        meant = closest(missing.name, [path.name for path in missing.parent.iterdir()])
    except OSError:
        return ""
    return f" Did you mean {missing.parent / meant}?" if meant else ""
