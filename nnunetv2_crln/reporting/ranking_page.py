"""Build the page of ``nnUNetv2_crln_rank``: the scans to annotate next, each with a thumbnail."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_crln.reporting.blocks import Block, Folded, Heading, Paragraph, Picture, Table, code, render_page
from nnunetv2_crln.reporting.figures import file_uri

SHOWN = 30


@dataclass(frozen=True)
class RankedScan:
    """Entry of the page: a place in the ranking, with the structures and the thumbnail of its scan.

    Attributes:
        case: Name of the case.
        uncertainty: Uncertainty in [0, 1].
        novelty: Difference from the scans ranked before it, in [0, 1].
        most_like: Most similar case among those ranked before it; empty for the first.
        structures: Expected Dice and volume in ml, by name.
        thumbnail: PNG file; it may be missing.
    """

    case: str
    uncertainty: float
    novelty: float
    most_like: str
    structures: Mapping[str, tuple[float, float]]
    thumbnail: Path


def build_ranking_page(title: str, model: str, scans: Sequence[RankedScan]) -> str:
    """Build the whole page.

    Args:
        title: Title of the page.
        model: Folder of the model.
        scans: The ranking, the scan to annotate first at the front.

    Returns:
        The page as HTML.
    """
    parts: list[Block] = [
        Paragraph(
            "Uncertainty compares a scan with those whose structures have a similar size: 0 for the most confident, 1 "
            "for the least. Novelty is the distance to the nearest scan above, as a share of the usual distance: "
            "near-copies of a scan above fall behind. Thumbnails show the slice in which the model is least confident: "
            "image, predicted label, confidence (yellow: high). Where it was measured, annotating the first scans "
            "taught no more than annotating random ones.",
            "note",
        ),
    ]
    for number, scan in enumerate(scans[:SHOWN], start=1):
        parts += [Heading(3, f"{number}. {scan.case}")]
        if scan.thumbnail.is_file():
            parts.append(Picture(file_uri(scan.thumbnail), f"Least confident slice of {scan.case}", _caption(scan)))
        else:
            parts.append(Paragraph(_caption(scan), "note"))
    if len(scans) > SHOWN:
        rows = [
            [number, code(scan.case), f"{scan.uncertainty:.2f}", f"{scan.novelty:.2f}"]
            for number, scan in enumerate(scans[SHOWN:], start=SHOWN + 1)
        ]
        table = Table(["", "Case", "Uncertainty", "Novelty"], rows, text_columns=2)
        parts.append(Folded(f"The other {len(rows)} cases", [table]))
    return render_page(title, code(model), [], parts, [])


def _caption(scan: RankedScan) -> str:
    found = [
        f"{name} {volume:.1f} ml, expected Dice {dice:.2f}" if not math.isnan(dice) else f"{name} not found"
        for name, (dice, volume) in scan.structures.items()
    ]
    like = f"; most like {scan.most_like}" if scan.most_like else ""
    return f"uncertainty {scan.uncertainty:.2f}, novelty {scan.novelty:.2f}{like}; {'; '.join(found)}"
