"""Draw the idea of CRLN as method.svg: ``python docs/images/draw_method.py``.

Writes plain SVG from hand-placed shapes: text stays sharp, and the colours follow the reader's light or dark theme.
"""

from __future__ import annotations

import math
from pathlib import Path

WIDTH, HEIGHT = 1120, 806
# Centres of the columns and rows that everything is aligned to.
INPUT, NETWORK, PROTOTYPES, DIM, MAP, LOSS = 86, 318, 532, 694, 854, 1034
LABELLED, STRONG, MIDDLE, OWN, WEAK = 108, 226, 426, 558, 686
FEATURES = 298  # height of the line of decoder features
TITLE = 41  # baseline of the first line
THUMB = 88  # edge of a picture

STYLE = """
  .panel { fill: #ffffff; stroke: #d0d7de }
  .ink { fill: #1f2328 } .soft { fill: #59636e }
  .box { fill: #f6f8fa; stroke: #59636e; stroke-width: 1.5 }
  .bar { fill: #8c959f }
  .scan { fill: #2b3138 } .tissue { fill: #6e7681 } .organ { fill: #c3cad2 } .glow { fill: #ffab2e }
  .cutmix { fill: #4d555e; stroke: #f0f6fc; stroke-width: 1.5; stroke-dasharray: 4 3 }
  .blue { fill: #2563c9 } .teal { fill: #0d8577 } .amber { fill: #b35f00 } .rose { fill: #bf3989 }
  .line { fill: none; stroke-width: 2.5; stroke-linejoin: round }
  .line.blue { stroke: #2563c9 } .line.teal { stroke: #0d8577 } .line.amber { stroke: #b35f00 }
  .line.soft { stroke: #59636e } .line.blue, .line.teal, .line.amber, .line.soft { fill: none }
  .plate.amber { fill: #fff4e0; stroke: #b35f00; stroke-width: 1.5 }
  .plate.teal { fill: #e5f6f3; stroke: #0d8577; stroke-width: 1.5 }
  .loss { fill: #fbe9f4; stroke: #bf3989; stroke-width: 1.5 }
  .blue-mask { fill: #5b9bff } .teal-mask { fill: #2fc4b2 } .wrong { stroke: #ff7b72; stroke-width: 2.5; fill: none }
  @media (prefers-color-scheme: dark) {
    .panel { fill: #0d1117; stroke: #30363d }
    .ink { fill: #f0f6fc } .soft { fill: #9aa4af }
    .box { fill: #161b22; stroke: #8b949e } .bar { fill: #6e7681 }
    .scan { fill: #21262d }
    .blue { fill: #6cabff } .teal { fill: #3ccfbd } .amber { fill: #f0a63c } .rose { fill: #f28dc8 }
    .line.blue { stroke: #6cabff } .line.teal { stroke: #3ccfbd } .line.amber { stroke: #f0a63c }
    .line.soft { stroke: #9aa4af }
    .plate.amber { fill: #2b2113; stroke: #f0a63c }
    .plate.teal { fill: #10302c; stroke: #3ccfbd }
    .loss { fill: #2e1728; stroke: #f28dc8 }
  }
"""

# An organ in a picture, as radii at equal angles, in halves of the picture's edge.
ORGAN = (0.62, 0.52, 0.50, 0.44, 0.50, 0.62, 0.60, 0.48, 0.40, 0.46)
# What the teacher sees of it: a part is missing.
INCOMPLETE = (0.62, 0.52, 0.50, 0.42, 0.44, 0.24, 0.20, 0.36, 0.40, 0.46)


def main() -> None:
    """Write method.svg beside this script."""
    Path(__file__).with_name("method.svg").write_text(drawing(), encoding="utf-8")


def drawing() -> str:
    """Return the whole picture as SVG text."""
    parts = [panel(), *inputs(), *networks(), *predictions(), *knowledge(), *rectification(), *losses()]
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        "role=\"img\" font-family=\"-apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif\">\n"
        "<title>Cooperative rectification learning: prototypes learned from labelled scans shape the features, and "
        "prototypes of each unlabelled scan with several structures correct its pseudo labels</title>\n"
        f"<style>{STYLE}</style>\n{markers()}\n{body}\n</svg>\n"
    )


# --- the parts of the picture ---------------------------------------------------------------------------------------


def panel() -> str:
    """Draw the background, so that the picture is readable on a page of any colour."""
    return f'<rect class="panel" x="1" y="1" width="{WIDTH - 2}" height="{HEIGHT - 2}" rx="14"/>'


def inputs() -> list[str]:
    """Draw the labelled scan, the unlabelled scan and its strong view, with their way into the networks."""
    left, right = INPUT + THUMB / 2, NETWORK - 80
    top_of_unlabelled = WEAK - THUMB / 2 - 8
    return [
        text(INPUT, TITLE, "Labelled scans", "blue", bold=True),
        scan(INPUT, LABELLED) + blob(INPUT, LABELLED, ORGAN, "blue-mask"),
        arrow("blue", (left + 8, LABELLED), (right, LABELLED)),
        scan(INPUT, STRONG, mixed=True),
        arrow("teal", (left + 8, STRONG), (right, STRONG)),
        text((left + right) / 2 + 4, STRONG - 12, "strong view", "soft"),
        arrow("teal", (INPUT, top_of_unlabelled), (INPUT, STRONG + THUMB / 2 + 8)),
        text(INPUT + 12, MIDDLE - 26, "contrast of other", "soft", anchor="start"),
        text(INPUT + 12, MIDDLE - 6, "scans, noise,", "soft", anchor="start"),
        text(INPUT + 12, MIDDLE + 14, "flips, CutMix", "soft", anchor="start"),
        scan(INPUT, WEAK),
        text(INPUT, WEAK + 70, "Unlabelled scans", "teal", bold=True),
        arrow("teal", (left + 8, WEAK), (right, WEAK)),
        text((left + right) / 2 + 4, WEAK - 12, "weak view", "soft"),
    ]


def networks() -> list[str]:
    """Draw the student, the teacher and the moving average between them."""
    return [
        network("Student", LABELLED - 44, FEATURES + 22, size=1.5),
        network("Teacher", WEAK - 58, WEAK + 58),
        arrow("soft", (NETWORK, FEATURES + 22), (NETWORK, WEAK - 60), dashed=True),
        text(NETWORK + 12, (MIDDLE + OWN) / 2 + 5, "moving average", "soft", anchor="start"),
    ]


def predictions() -> list[str]:
    """Draw what the student predicts, the label it is compared with, and the line of its decoder features."""
    start, left, right = NETWORK + 80, MAP - THUMB / 2 - 6, MAP + THUMB / 2 + 8
    return [
        arrow("blue", (INPUT + 64, TITLE - 5), (LOSS, TITLE - 5), (LOSS, LABELLED - 24)),
        text((start + left) / 2, TITLE - 14, "label", "soft"),
        arrow("blue", (start, LABELLED), (left, LABELLED)),
        scan(MAP, LABELLED) + blob(MAP, LABELLED, ORGAN, "blue-mask", scale=0.95),
        arrow("blue", (right, LABELLED), (LOSS - 62, LABELLED)),
        text((start + left) / 2, LABELLED - 12, "prediction", "soft"),
        arrow("teal", (start, STRONG), (left, STRONG)),
        scan(MAP, STRONG, mixed=True) + blob(MAP, STRONG, ORGAN, "teal-mask"),
        arrow("teal", (right, STRONG), (LOSS - 62, STRONG)),
        text((start + left) / 2, STRONG - 12, "prediction", "soft"),
    ]


def knowledge() -> list[str]:
    """Draw the prototypes, the Dynamic Interaction Module and the relationship map, with what feeds them."""
    start = NETWORK + 80
    return [
        arrow("soft", (start, FEATURES), (PROTOTYPES, FEATURES), (PROTOTYPES, FEATURES + 24)),
        arrow("soft", (PROTOTYPES, FEATURES), (DIM, FEATURES), (DIM, MIDDLE - 46)),
        text((PROTOTYPES + DIM) / 2, FEATURES - 12, "decoder features", "soft"),
        plate(PROTOTYPES, MIDDLE, 124, 88),
        text(PROTOTYPES, MIDDLE - 20, "Prototypes", "ink", bold=True),
        *dots(PROTOTYPES, MIDDLE + 4, "blue-mask"),
        *dots(PROTOTYPES, MIDDLE + 26, "tissue"),
        arrow("amber", (PROTOTYPES, MIDDLE - 44), (PROTOTYPES, FEATURES + 63)),
        arrow("amber", (PROTOTYPES + 64, MIDDLE), (DIM - 64, MIDDLE)),
        plate(DIM, MIDDLE, 124, 88),
        text(DIM, MIDDLE - 14, "Dynamic", "ink", bold=True),
        text(DIM, MIDDLE + 6, "Interaction", "ink", bold=True),
        text(DIM, MIDDLE + 26, "Module", "ink", bold=True),
        arrow("amber", (DIM + 64, MIDDLE), (MAP - THUMB / 2 - 6, MIDDLE)),
        arrow("amber", (MAP, MIDDLE - 46), (MAP, FEATURES + 63)),
        score_map(MAP, MIDDLE, "glow"),
        text(MAP + 54, MIDDLE - 6, "relationship", "amber", anchor="start", bold=True),
        text(MAP + 54, MIDDLE + 14, "map M", "amber", anchor="start", bold=True),
    ]


def rectification() -> list[str]:
    """Draw the prototypes of the unlabelled scan, the correction of its pseudo label, and the way to the loss."""
    start, pseudo, line = NETWORK + 80, 754, WEAK + 14
    return [
        arrow("teal", (start, WEAK - 28), (PROTOTYPES, WEAK - 28), (PROTOTYPES, OWN + 46)),
        text((start + PROTOTYPES) / 2, WEAK - 40, "features", "soft"),
        plate(PROTOTYPES, OWN, 124, 88, "teal"),
        text(PROTOTYPES, OWN - 20, "Prototypes", "ink", bold=True),
        text(PROTOTYPES, OWN, "of this scan", "ink", bold=True),
        *dots(PROTOTYPES, OWN + 24, "teal-mask", (-1.5,)),
        *dots(PROTOTYPES, OWN + 24, "tissue", (1.5,)),
        arrow("teal", (PROTOTYPES + 64, OWN), (MAP - THUMB / 2 - 6, OWN)),
        score_map(MAP, OWN, "teal-mask"),
        text(MAP + 54, OWN - 6, "scores of", "teal", anchor="start", bold=True),
        text(MAP + 54, OWN + 14, "its voxels", "teal", anchor="start", bold=True),
        arrow("teal", (NETWORK + 80, line), (pseudo - 50, line)),
        scan(pseudo, line) + blob(pseudo, line, INCOMPLETE, "teal-mask") + errors(pseudo, line),
        text(pseudo, line + 62, "pseudo label", "soft"),
        arrow("teal", (pseudo + 50, line), (MAP - 18, line)),
        arrow("teal", (MAP, OWN + 50), (MAP, line - 18)),
        f'<circle class="plate teal" cx="{MAP}" cy="{line}" r="15"/>',
        f'<path class="line teal" d="M{MAP - 8} {line}h16M{MAP} {line - 8}v16"/>',
        arrow("teal", (MAP + 16, line), (LOSS - 50, line)),
        scan(LOSS, line) + blob(LOSS, line, ORGAN, "teal-mask"),
        text(LOSS, line + 62, "rectified", "teal", bold=True),
        text(LOSS, line + 82, "pseudo label", "teal", bold=True),
        arrow("teal", (LOSS, line - 50), (LOSS, STRONG + 24)),
    ]


def losses() -> list[str]:
    """Draw the loss terms where they act."""
    return [
        loss(LOSS, LABELLED, "supervised"),
        loss(LOSS, STRONG, "consistency"),
        loss(MAP, FEATURES + 44, "supervised"),
        loss(PROTOTYPES, FEATURES + 44, "contrastive", width=124),
    ]


# --- shapes ---------------------------------------------------------------------------------------------------------


def markers() -> str:
    """Define an arrow head for each colour of line."""
    heads = (
        f'<marker id="{colour}" viewBox="0 0 10 10" refX="8.5" refY="5" markerWidth="11" markerHeight="11" '
        f'markerUnits="userSpaceOnUse" orient="auto"><path class="{colour}" d="M0 0L10 5L0 10z"/></marker>'
        for colour in ("blue", "teal", "amber", "soft")
    )
    return f"<defs>{''.join(heads)}</defs>"


def text(x: float, y: float, words: str, colour: str, anchor: str = "middle", bold: bool = False) -> str:
    """Write a line of text with its baseline at ``y``."""
    weight = ' font-weight="600"' if bold else ""
    return f'<text class="{colour}" x="{x:g}" y="{y:g}" font-size="16" text-anchor="{anchor}"{weight}>{words}</text>'


def arrow(colour: str, *points: tuple[float, float], dashed: bool = False) -> str:
    """Draw an arrow along the points."""
    path = "L".join(f"{x:g} {y:g}" for x, y in points)
    dash = ' stroke-dasharray="7 6"' if dashed else ""
    return f'<path class="line {colour}" d="M{path}"{dash} marker-end="url(#{colour})"/>'


def network(name: str, top: float, bottom: float, size: float = 1) -> str:
    """Draw a network as a box with the outline of an encoder and a decoder."""
    middle = (top + bottom) / 2
    heights = [size * height for height in (52, 38, 24, 14, 24, 38, 52)]
    bars = "".join(
        f'<rect class="bar" x="{NETWORK - 59 + 17.5 * i:g}" y="{middle + 14 - height / 2:g}" width="12" '
        f'height="{height:g}" rx="3"/>'
        for i, height in enumerate(heights)
    )
    box = f'<rect class="box" x="{NETWORK - 78}" y="{top:g}" width="156" height="{bottom - top:g}" rx="12"/>'
    return box + bars + text(NETWORK, middle - 26 * size - 4, name, "ink", bold=True)


def plate(x: float, y: float, width: float, height: float, colour: str = "amber") -> str:
    """Draw a box for what is learned from the labelled scans, or in another colour."""
    corner = f'x="{x - width / 2:g}" y="{y - height / 2:g}"'
    return f'<rect class="plate {colour}" {corner} width="{width:g}" height="{height:g}" rx="12"/>'


def loss(x: float, y: float, name: str, width: float = 120) -> str:
    """Draw a loss term as a pill."""
    pill = f'<rect class="loss" x="{x - width / 2:g}" y="{y - 17}" width="{width:g}" height="34" rx="17"/>'
    return pill + text(x, y + 5.5, name, "rose", bold=True)


def dots(x: float, y: float, colour: str, places: tuple[float, ...] = (-1.5, -0.5, 0.5, 1.5)) -> list[str]:
    """Draw the prototypes of one class as a row of dots."""
    return [f'<circle class="{colour}" cx="{x + 22 * i:g}" cy="{y:g}" r="7"/>' for i in places]


def scan(x: float, y: float, mixed: bool = False) -> str:
    """Draw a scan as a picture of an organ in tissue; ``mixed`` adds the box that CutMix took from another scan."""
    half = THUMB / 2
    body = f'<rect class="scan" x="{x - half:g}" y="{y - half:g}" width="{THUMB}" height="{THUMB}" rx="8"/>'
    body += f'<ellipse class="tissue" cx="{x:g}" cy="{y:g}" rx="38" ry="35"/>'
    body += blob(x, y, ORGAN, "organ")
    if mixed:
        body += f'<rect class="cutmix" x="{x - 38:g}" y="{y - 38:g}" width="38" height="32" rx="2"/>'
        body += f'<path class="organ" d="M{x - 37:g} {y - 26:g}q16 -4 18 8q1 8 6 11h-24z"/>'
    return body


def blob(x: float, y: float, radii: tuple[float, ...], colour: str, scale: float = 1.0) -> str:
    """Draw a smooth closed outline through points at the given radii."""
    step = 2 * math.pi / len(radii)
    reach = THUMB / 2 * scale
    points = [(x + reach * r * math.cos(i * step), y + reach * r * math.sin(i * step)) for i, r in enumerate(radii)]
    return f'<path class="{colour}" d="{smooth(points)}"/>'


def smooth(points: list[tuple[float, float]]) -> str:
    """Join points by a closed Catmull-Rom spline, written as cubic Bézier curves."""
    count = len(points)
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for i in range(count):
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = (points[(i + k) % count] for k in (-1, 0, 1, 2))
        path += f"C{bx + (cx - ax) / 6:.1f} {by + (cy - ay) / 6:.1f} {cx - (dx - bx) / 6:.1f} {cy - (dy - by) / 6:.1f}"
        path += f" {cx:.1f} {cy:.1f}"
    return path + "z"


def errors(x: float, y: float) -> str:
    """Mark what is wrong in the pseudo label: a part is missing."""
    return f'<ellipse class="wrong" cx="{x - 18:g}" cy="{y - 8:g}" rx="13" ry="16"/>'


def score_map(x: float, y: float, colour: str) -> str:
    """Draw a map that is high where the voxels resemble the prototypes of the organ."""
    half = THUMB / 2
    frame = f'<rect class="scan" x="{x - half:g}" y="{y - half:g}" width="{THUMB}" height="{THUMB}" rx="8"/>'
    levels = "".join(
        f'<g opacity="{opacity}">{blob(x, y, ORGAN, colour, scale)}</g>'
        for scale, opacity in ((1.35, 0.25), (1.15, 0.35), (0.92, 0.6), (0.65, 0.9))
    )
    return frame + levels


if __name__ == "__main__":
    main()
