"""Build small pieces of HTML. Every text from a file or folder name passes through ``html.escape`` here."""

import html
from collections.abc import Sequence

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; color: #1d1d1f; background: #fff;
  max-width: 1120px; margin: 0 auto; padding: 24px 20px 60px; }
h1 { font-size: 1.6em; margin: 0 0 .1em; overflow-wrap: anywhere; }
h2 { font-size: 1.25em; margin: 2em 0 .5em; padding-bottom: .2em; border-bottom: 2px solid #0072B2; }
h3 { font-size: 1.05em; margin: 1.4em 0 .4em; }
p.lead, p.note, figcaption { color: #55585c; }
p.note, figcaption { font-size: .88em; max-width: 80ch; }
code { font: .92em ui-monospace, "SF Mono", Consolas, monospace; overflow-wrap: anywhere; }
figure { margin: .6em 0 1.2em; }
img { max-width: 100%; height: auto; display: block; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88em; margin: .4em 0 1em; }
th, td { padding: .28em .5em; text-align: right; border-bottom: 1px solid #e4e6e8;
  font-variant-numeric: tabular-nums; }
th { background: #f3f5f7; font-weight: 600; vertical-align: bottom; }
td { white-space: nowrap; }
th.text, td.text, table.facts td { text-align: left; }
table.facts td { overflow-wrap: anywhere; white-space: normal; vertical-align: top; }
table.facts td:first-child { color: #55585c; white-space: nowrap; }
ul.remarks { padding: .6em 1em .6em 2em; background: #fdf3e7; border-left: 4px solid #D55E00; }
p.fine { padding: .6em 1em; background: #eaf6f1; border-left: 4px solid #009E73; }
details { margin: .4em 0; } summary { cursor: pointer; color: #0072B2; }
@media print { body { max-width: none; padding: 0; } h2, figure { break-inside: avoid; } }
"""

# The page may only show its own content: no script, nothing from any network.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Markup(str):
    """Text that is already HTML."""


def text(value: object) -> str:
    """Escape anything that is not :class:`Markup`."""
    return value if isinstance(value, Markup) else html.escape(str(value))


def page(title: str, parts: Sequence[str]) -> str:
    """Build a whole document.

    Args:
        title: Title of the document.
        parts: HTML of its parts.

    Returns:
        HTML of the document.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def heading(level: int, content: object) -> str:
    """Build a heading.

    Args:
        level: Level of the heading, from 1.
        content: Text of the heading.

    Returns:
        HTML of the heading.
    """
    return f"<h{level}>{text(content)}</h{level}>"


def paragraph(content: object, kind: str = "") -> str:
    """Build a paragraph.

    Args:
        content: Text of the paragraph.
        kind: Class of the style sheet; empty for none.

    Returns:
        HTML of the paragraph.
    """
    return f'<p class="{kind}">{text(content)}</p>' if kind else f"<p>{text(content)}</p>"


def code(content: object) -> Markup:
    """Mark the name of a file, case or command."""
    return Markup(f"<code>{text(content)}</code>")


def table(header: Sequence[object], rows: Sequence[Sequence[object]], text_columns: int = 1) -> str:
    """Build a table with a header row.

    Args:
        header: Titles of the columns.
        rows: Cells of each row.
        text_columns: Number of leading columns with text; the others are numbers, aligned to the right.

    Returns:
        HTML of the table.
    """

    def line(cells: Sequence[object], tag: str) -> str:
        kinds = [' class="text"' if column < text_columns else "" for column in range(len(cells))]
        return "<tr>" + "".join(f"<{tag}{k}>{text(c)}</{tag}>" for k, c in zip(kinds, cells, strict=True)) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f'<div class="scroll"><table><thead>{line(header, "th")}</thead><tbody>{body}</tbody></table></div>'


def facts(rows: Sequence[tuple[str, object]]) -> str:
    """Build a table of names and values, without header."""
    body = "".join(f"<tr><td>{text(name)}</td><td>{text(value)}</td></tr>" for name, value in rows)
    return f'<table class="facts"><tbody>{body}</tbody></table>'


def picture(uri: str, alt: str, caption: object = "") -> str:
    """Build a figure from a data URI.

    Args:
        uri: Data URI of the image.
        alt: Text for readers who cannot see the image.
        caption: Text below the image; empty for none.

    Returns:
        HTML of the figure.
    """
    below = f"<figcaption>{text(caption)}</figcaption>" if caption else ""
    return f'<figure><img src="{uri}" alt="{html.escape(alt)}">{below}</figure>'


def folded(title: object, parts: Sequence[str]) -> str:
    """Build a part that opens on a click.

    Args:
        title: Title that is always visible.
        parts: HTML of the content.

    Returns:
        HTML of the part.
    """
    return f"<details><summary>{text(title)}</summary>{''.join(parts)}</details>"


def remark_list(items: Sequence[str]) -> str:
    """Build a coloured box with remarks."""
    return '<ul class="remarks">' + "".join(f"<li>{text(item)}</li>" for item in items) + "</ul>"
