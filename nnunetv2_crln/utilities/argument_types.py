"""Types of arguments, for ``add_argument(type=...)``: a value that makes no sense is refused before any work."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable


def whole_number(least: int = 1, most: int | None = None) -> Callable[[str], int]:
    """Make a type of whole numbers.

    Args:
        least: Smallest number.
        most: Largest number; None if there is none.

    Returns:
        Function that reads the text of an argument.
    """
    expected = f"a whole number, {least} or more" if most is None else f"a whole number from {least} to {most}"

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise _refusal(text, expected) from None
        if value < least or (most is not None and value > most):
            raise _refusal(text, expected)
        return value

    return read


def _number(fits: Callable[[float], bool], expected: str) -> Callable[[str], float]:
    """Make a type of finite numbers in some range."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise _refusal(text, expected) from None
        if not (math.isfinite(value) and fits(value)):
            raise _refusal(text, expected)
        return value

    return read


positive_number = _number(lambda value: value > 0, "a number above 0")
share = _number(lambda value: 0 < value <= 1, "a number above 0, at most 1")
probability = _number(lambda value: 0 <= value <= 1, "a number from 0 to 1")


def plain_name(text: str) -> str:
    """Return a name of which paths are made, and which must not leave its folder.

    Raises:
        ArgumentTypeError: The text is empty, a path or a name that no file can have.
    """
    if text.strip() in ("", ".", "..") or re.search(r"[/\\:\x00-\x1f]", text):
        raise _refusal(text, "a name, without slash, backslash and colon")
    return text


def _refusal(text: str, expected: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"{text!r}: expected {expected}")
