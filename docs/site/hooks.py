"""Hooks of mkdocs: the pages are written for the repository, where links may leave docs/."""

import re

OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)]+)\)")


def on_page_markdown(markdown: str, **_: object) -> str:
    """Name files outside of docs/ by their path in the repository instead of linking them."""
    return OUTSIDE.sub(r"\1 (`\2` in the repository)", markdown)
