"""Define colours and sizes of all figures, readable in print and for colour-blind readers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from nnunetv2_crln.utilities.files import finished_file

# Okabe & Ito, "Color Universal Design" (2008).
ORANGE, SKY_BLUE, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"

LINE_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY_BLUE)
LINE_STYLES = ("-", "--", ":", "-.", "-", "--")
"""Line styles that distinguish curves in greyscale prints."""

CLASS_COLOURS = (ORANGE, SKY_BLUE, GREEN, YELLOW, PURPLE, VERMILLION, BLUE)
"""Colours of classes 1, 2, …; repeated if there are more classes."""

_PLAIN: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
}


@contextmanager
def plain_style() -> Iterator[None]:
    """Use matplotlib's defaults with these sizes within the block, because nnU-Net changes the global settings."""
    with matplotlib.rc_context():
        defaults: dict[Any, Any] = {k: v for k, v in matplotlib.rcParamsDefault.items() if k != "backend"}
        matplotlib.rcParams.update({**defaults, **_PLAIN})
        yield


def save_figure(figure: Figure, path: str | Path, dpi: int) -> None:
    """Write a PNG file such that a reader never sees an incomplete one.

    Args:
        figure: Figure to write.
        path: Final path; its folder is created.
        dpi: Resolution in dots per inch.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with finished_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=dpi)
