"""Hooks of mkdocs: the pages are written for the repository, where links may leave docs/. README.md becomes a page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
QUICK_START = "quick_start.md"
OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)]+)\)")
README = re.compile(r"\]\(\.\./README\.md(#[^)]*)?\)")
LINK = re.compile(r"\]\((?!https?:|#)([^)]+)\)")


def on_files(files: Any, config: Any) -> Any:
    """Add README.md of the repository as a page."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, QUICK_START, content=quick_start()))
    return files


def quick_start() -> str:
    """Return README.md without its badges, and with links as from a page inside of docs/."""
    text = re.sub(r"^\[!\[.*\n", "", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return LINK.sub(lambda found: f"]({_from_docs(found[1])})", text)


def _from_docs(target: str) -> str:
    return target.removeprefix("docs/") if target.startswith("docs/") else f"../{target}"


def on_page_markdown(markdown: str, **_: object) -> str:
    """Link README.md as a page, and name other files outside of docs/ by their path instead of linking them."""
    markdown = README.sub(rf"]({QUICK_START}\1)", markdown)
    return OUTSIDE.sub(r"\1 (`\2` in the repository)", markdown)
