"""Draw progress_crln.png: the curves of CRLN beside nnU-Net's progress.png, from the logger's lists alone."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nnunetv2_crln.layout import PROGRESS_FILE
from nnunetv2_crln.reporting.curves import Panel, drawable, finite_points
from nnunetv2_crln.reporting.style import LINE_COLOURS, LINE_STYLES, plain_style, save_figure

COLUMNS = 3
# More points than this cannot be distinguished in a panel, but slow down the figure of a long training.
MAX_POINTS = 400
# Fewer points than this may have gaps on both sides, where a line would show nothing.
FEW_POINTS = 15


def draw_progress(logging: Mapping[str, Sequence]) -> Figure:
    """Draw a figure with one panel per unit.

    Args:
        logging: Values per epoch of each key of nnU-Net's logger; NaN where nothing was measured.

    Returns:
        Figure outside pyplot's state, so that nothing has to be closed.
    """
    panels = drawable(logging)
    rows = max(1, math.ceil(len(panels) / COLUMNS))
    with plain_style():
        figure = Figure(figsize=(4 * COLUMNS, 2.5 * rows))
        grid = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
        for axes, panel in zip(grid, panels, strict=False):
            draw_panel(axes, panel, logging)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        # Constrained layout would draw everything twice; fixed margins cost nothing.
        figure.subplots_adjust(left=0.045, right=0.99, top=1 - 0.28 / rows / 2.5, bottom=0.42 / rows / 2.5)
        figure.subplots_adjust(hspace=0.38, wspace=0.16)
    return figure


def draw_panel(axes: Axes, panel: Panel, logging: Mapping[str, Sequence]) -> None:
    """Draw the curves of one panel.

    Args:
        axes: Axes to draw on.
        panel: Panel with its curves.
        logging: Values per epoch of each key of nnU-Net's logger.
    """
    for line, colour, style in zip(panel.lines, LINE_COLOURS, LINE_STYLES, strict=False):
        epochs, values = finite_points(logging, line.key)
        stride = max(1, math.ceil(len(epochs) / MAX_POINTS))
        marker = "o" if len(epochs) <= FEW_POINTS else None
        axes.plot(
            epochs[::stride], values[::stride], style, color=colour, label=line.label, lw=1.4, marker=marker, ms=2.5
        )
    axes.set_title(panel.title, loc="left")
    axes.set_xlabel("epoch", labelpad=1)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    if len(panel.lines) > 1:
        axes.legend(loc="best", framealpha=0.75, edgecolor="none", borderpad=0.2)


def save_progress_png(logging: Mapping[str, Sequence], folder: str | Path) -> None:
    """Draw and write ``progress_crln.png``.

    Args:
        logging: Values per epoch of each key of nnU-Net's logger.
        folder: Output folder of the fold.
    """
    with plain_style():
        save_figure(draw_progress(logging), Path(folder) / PROGRESS_FILE, dpi=90)
