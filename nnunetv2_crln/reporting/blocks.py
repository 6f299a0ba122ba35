"""Define the pieces of the report's page; ``templates/report.html`` formats them and escapes their text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


class Block:
    """Piece of the page; the template has a macro for each kind."""

    @property
    def kind(self) -> str:
        """Name of the macro."""
        return type(self).__name__.lower()


@dataclass(frozen=True)
class Heading(Block):
    """Heading of level 1 to 3."""

    level: int
    text: object


@dataclass(frozen=True)
class Paragraph(Block):
    """Paragraph; ``style`` is a class of the style sheet."""

    text: object
    style: str = ""


@dataclass(frozen=True)
class Table(Block):
    """Table with a header row; the first columns contain text, the others numbers, aligned to the right."""

    header: Sequence[object]
    rows: Sequence[Sequence[object]]
    text_columns: int = 1


@dataclass(frozen=True)
class Facts(Block):
    """Names and values, without header."""

    rows: Sequence[tuple[str, object]]


@dataclass(frozen=True)
class Picture(Block):
    """Image from a data URI; ``style`` is a class of the style sheet."""

    uri: str
    alt: str
    caption: object = ""
    style: str = ""


@dataclass(frozen=True)
class Folded(Block):
    """Blocks that open on a click, and in print."""

    title: object
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Remarks(Block):
    """Remarks in a coloured box."""

    items: Sequence[object]


@dataclass(frozen=True)
class Answer:
    """Question in the panel at the top, with its answer.

    Attributes:
        question: Question of a reader.
        verdict: Answer in a few words.
        state: ``good``, ``bad`` or ``open``, for the colour.
        details: Sentences with the numbers, or with what to do to get them.
        pictures: Thumbnails.
    """

    question: str
    verdict: str
    state: str
    details: Sequence[object] = ()
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True)
class Link:
    """Link to a file beside the page."""

    title: str
    target: str


def code(text: object) -> Markup:
    """Mark the name of a file, case or command."""
    return Markup("<code>{}</code>").format(text)


PAGE_MARK = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Text near the beginning of every page, by which it is told from other files."""


def render_page(
    title: str, subtitle: object, answers: Sequence[Answer], blocks: Sequence[Block], links: Sequence[Link]
) -> str:
    """Render the whole page.

    Args:
        title: Title of the page.
        subtitle: Line below it.
        answers: Panel at the top.
        blocks: Everything below it.
        links: List of files at the end.

    Returns:
        HTML without any script, which loads nothing from outside.
    """
    environment = Environment(
        loader=PackageLoader("nnunetv2_crln.reporting"),
        autoescape=True,  # texts come from file and folder names
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        title=title, subtitle=subtitle, answers=answers, blocks=blocks, links=links
    )
