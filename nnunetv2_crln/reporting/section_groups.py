"""Build the report's section on groups of unlabelled cases: their distance from the labelled ones, their curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nnunetv2_crln.reporting.blocks import Block, Heading, Paragraph, Picture, Remarks
from nnunetv2_crln.reporting.figures import png_uri
from nnunetv2_crln.reporting.fold import Fold
from nnunetv2_crln.reporting.style import LINE_COLOURS, LINE_STYLES, plain_style

SHOWN = {
    "monitor_confidence": "Mean confidence",
    "monitor_foreground": "Share of foreground",
    "pseudo_dice": "Dice of pseudo labels (hidden labels)",
}


def far_groups(fold: Fold) -> list[str]:
    """Return the texts about groups that are far from the labelled cases."""
    return [entry["text"] for entry in (fold.domain or {}).get("groups", []) if entry["far"]]


def groups_section(fold: Fold) -> list[Block]:
    """Describe the comparison with the labelled cases and draw the curves of each group."""
    entries = (fold.domain or {}).get("groups", [])
    curves = (fold.group_curves or {}).get("groups", {})
    if not entries and not curves:
        return []
    blocks: list[Block] = [Heading(2, "Labelled against unlabelled cases")]
    if far := far_groups(fold):
        blocks.append(Remarks(far))
    blocks += [Paragraph(f"{entry['text']}.") for entry in entries if not entry["far"]]
    if entries:
        blocks.append(
            Paragraph(
                "Compared: spacing, size and percentiles of the normalised intensities. Far: a group's median is more "
                "than four spreads of the labelled cases from theirs.",
                "fine",
            )
        )
    if curves:
        caption = "Monitored cases of each group of unlabelled_groups in dataset.json."
        blocks.append(Picture(png_uri(draw_group_curves(curves)), "Curves of each group", caption))
    return blocks


def draw_group_curves(curves: Mapping[str, Mapping[str, Sequence[Sequence[float]]]]) -> Figure:
    """Draw a panel for each measured curve, with a line for each group.

    Args:
        curves: Points (epoch, value) by group and curve.

    Returns:
        The figure.
    """
    panels = [key for key in SHOWN if any(group.get(key) for group in curves.values())]
    with plain_style():
        figure = Figure(figsize=(4 * max(1, len(panels)), 2.7), layout="constrained")
        for axes, key in zip(figure.subplots(1, max(1, len(panels)), squeeze=False).flat, panels, strict=False):
            for number, (group, of_group) in enumerate(curves.items()):
                epochs, values = [point[0] for point in of_group[key]], [point[1] for point in of_group[key]]
                colour, style = LINE_COLOURS[number % len(LINE_COLOURS)], LINE_STYLES[number % len(LINE_STYLES)]
                axes.plot(epochs, values, style, color=colour, label=group, lw=1.4, marker="o", ms=2.5)
            axes.set_title(SHOWN[key], loc="left")
            axes.set_xlabel("epoch", labelpad=1)
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.legend(loc="best", framealpha=0.75, edgecolor="none")
    return figure
