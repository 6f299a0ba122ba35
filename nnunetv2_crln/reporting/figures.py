"""Draw figures of the report and embed them into one self-contained file."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nnunetv2_crln.reporting.curves import finite_points
from nnunetv2_crln.reporting.style import BLUE, ORANGE, plain_style

DPI = 110
_COMPARED = (("ema_fg_dice", "Validation Dice (moving average)"), ("val_losses", "Validation loss"))


def png_uri(figure: Figure) -> str:
    """Encode a figure as a data URI."""
    buffer = io.BytesIO()
    with plain_style():
        figure.savefig(buffer, format="png", dpi=DPI)
    return bytes_uri(buffer.getvalue())


def file_uri(path: Path) -> str:
    """Encode a PNG file as a data URI."""
    return bytes_uri(path.read_bytes())


def bytes_uri(png: bytes) -> str:
    """Encode PNG bytes as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def draw_comparison(logging: Mapping[str, Sequence], baseline: Mapping[str, Sequence]) -> Figure | None:
    """Draw the validation curves of two trainings.

    Args:
        logging: Values per epoch of each key of nnU-Net's logger.
        baseline: Values of the training to compare with.

    Returns:
        The figure; None if neither training has such curves.
    """
    pairs = ((logging, "this model", BLUE, "-"), (baseline, "baseline", ORANGE, "--"))
    if not any(finite_points(log, key)[0] for log, *_ in pairs for key, _ in _COMPARED):
        return None
    with plain_style():
        figure = Figure(figsize=(9, 2.8), layout="constrained")
        for axes, (key, title) in zip(figure.subplots(1, 2), _COMPARED, strict=True):
            for log, label, colour, style in pairs:
                epochs, values = finite_points(log, key)
                axes.plot(epochs, values, style, color=colour, label=label, lw=1.5)
            axes.set_title(title, loc="left")
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.legend(frameon=False)
    return figure
