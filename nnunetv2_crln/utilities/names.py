"""Tell which names are equal on every file system, and explain why two names that look alike are not equal."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

BUT_FOR_CASE = "but for upper and lower case"
"""Words for names that differ in this alone, which some file systems do not tell apart."""


def portable_key(name: str) -> str:
    """Return a text that two names share if some file system takes them for one.

    Those of macOS and Windows, and network folders, ignore upper and lower case; macOS ignores the Unicode form, too.

    Example:
        >>> portable_key("Heart_01") == portable_key("heart_01")
        True
    """
    return unicodedata.normalize("NFC", name).casefold()


def explain_near_name(name: str, present: Iterable[str]) -> str:
    """Return a hint if a missing name is there in another spelling, else an empty text.

    Args:
        name: Name that is missing.
        present: Names that are there.

    Returns:
        Hint with the other spelling, or an empty text.

    Example:
        >>> explain_near_name("heart.nii.gz", ["Heart.nii.gz", "liver.nii.gz"])
        "'Heart.nii.gz' differs in upper and lower case: rename one"
    """
    composed = unicodedata.normalize("NFC", name)
    for other in present:
        other_composed = unicodedata.normalize("NFC", other)
        if other == name:
            continue
        if other_composed == composed:
            return f"{other!r} looks the same, but is written in another Unicode form (NFC and NFD): rename one"
        if portable_key(other) == portable_key(name):
            return f"{other!r} differs in upper and lower case: rename one"
    return ""


def with_hint(name: str, present: Iterable[str]) -> str:
    """Return a missing name, with :func:`explain_near_name` in brackets if there is such a name.

    Args:
        name: Name that is missing.
        present: Names that are there.

    Returns:
        The name, with or without a hint.

    Example:
        >>> with_hint("a", ["A"])
        "a ('A' differs in upper and lower case: rename one)"
    """
    hint = explain_near_name(name, present)
    return f"{name} ({hint})" if hint else name
