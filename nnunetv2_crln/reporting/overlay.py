"""Draw a picture of a pseudo label: image, prediction of the teacher, rectification and confidence."""

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch as LegendPatch
from matplotlib.patches import Rectangle

from nnunetv2_crln.reporting.style import BLUE, CLASS_COLOURS, PURPLE, VERMILLION, plain_style

MAX_MAPS = 4
OPACITY = 0.55
PANEL_INCHES = 1.9
DPI = 110
COLUMN_CHARACTERS = 26
LINE_INCHES = 0.14


@dataclass(frozen=True)
class PseudoLabelPicture:
    """Content of a picture; arrays over one patch, 3D or 2D.

    Attributes:
        image: One channel of the image, (*patch).
        raw: Pseudo label before rectification, class indices, (*patch).
        rectified: Pseudo label after rectification, class indices, (*patch).
        confidence: Confidence of the rectified pseudo label in [0, 1], (*patch).
        relationship_map: Relationship map M, (C, *patch), or None.
        truth: Hidden label, (*patch), or None.
        spacing: Spacing of each axis in mm, for the shape of the voxels.
        class_names: Names of the classes, background first.
        title: Title of the picture.
        around: Whole slices of the scan, (rows, columns), by the index of the patch's slice in them; without any, the
            picture shows the patch alone.
        frame: Lower and upper bound of the patch in rows and in columns of the whole slices.
    """

    image: np.ndarray
    raw: np.ndarray
    rectified: np.ndarray
    confidence: np.ndarray
    relationship_map: np.ndarray | None
    truth: np.ndarray | None
    spacing: tuple[float, ...]
    class_names: tuple[str, ...]
    title: str = ""
    around: Mapping[int | None, np.ndarray] = field(default_factory=dict)
    frame: tuple[tuple[int, int], ...] = ()


def draw_overlay(picture: PseudoLabelPicture) -> Figure:
    """Draw slices through the pseudo foreground as rows, and the quantities as columns.

    Returns:
        Figure outside pyplot's state, so that nothing has to be closed.
    """
    axis = slice_axis(picture.raw.ndim, picture.spacing)
    slices = choose_slices(picture.rectified, axis)
    columns = _columns(picture)
    view = _Slicer(axis, picture.spacing)
    first = view.cut(picture.image, slices[0])
    shape = view.aspect * first.shape[0] / first.shape[1]
    height = PANEL_INCHES * min(max(shape, 0.6), 1.8)
    width = PANEL_INCHES * len(columns) + 0.3
    entries = _legend_entries(picture)
    longest = max(len(str(entry.get_label())) for entry in entries)
    per_row = max(1, min(len(entries), int(width / (0.4 + 0.07 * longest))))
    # Names of classes are shown whole: titles and legend take as many lines as they need.
    top = 0.33 + LINE_INCHES * max(name.count("\n") + 1 for name, _ in columns)
    bottom = 0.13 + LINE_INCHES * math.ceil(len(entries) / per_row)
    size = (width, height * len(slices) + top + bottom)
    with plain_style():
        figure = Figure(figsize=size)
        grid = figure.subplots(len(slices), len(columns), squeeze=False)
        for row, index in zip(grid, slices, strict=True):
            for axes, (_, draw) in zip(row, columns, strict=True):
                draw(axes, view, index)
                axes.set_axis_off()
            if index is not None:
                row[0].annotate(
                    f"slice {index}",
                    (-0.04, 0.5),
                    xycoords="axes fraction",
                    rotation=90,
                    va="center",
                    ha="right",
                    size=7,
                )
        for axes, (name, _) in zip(grid[0], columns, strict=True):
            axes.set_title(name, fontsize=8, pad=3)
        figure.suptitle(picture.title, x=0.3 / size[0], y=1 - 0.06 / size[1], ha="left", va="top", fontsize=9)
        figure.legend(
            handles=entries, loc="lower left", ncols=per_row, frameon=False, handlelength=1, borderaxespad=0.2
        )
        figure.subplots_adjust(
            left=0.26 / size[0], right=1 - 0.04 / size[0], top=1 - top / size[1], bottom=bottom / size[1]
        )
        figure.subplots_adjust(wspace=0.03, hspace=0.03)
    return figure


def slice_axis(ndim: int, spacing: Sequence[float]) -> int | None:
    """Choose the axis to cut across.

    Args:
        ndim: Number of spatial dimensions, 2 or 3.
        spacing: Spacing of each axis in mm.

    Returns:
        Axis with the thickest slices, the first of equal ones; None in 2D.
    """
    return int(np.argmax(spacing[-3:])) if ndim == 3 else None


def choose_slices(labels: np.ndarray, axis: int | None) -> list[int | None]:
    """Choose up to three slices through the foreground: at one and three quarters of it, and the fullest slice.

    Args:
        labels: Class indices, (*patch).
        axis: Axis to cut across; None in 2D.

    Returns:
        Indices of the slices; the middle slice without foreground, and None in 2D.

    Example:
        >>> choose_slices(np.zeros((5, 2, 2), dtype=int), 0)
        [2]
    """
    if axis is None:
        return [None]
    others = tuple(i for i in range(labels.ndim) if i != axis)
    area = (labels > 0).sum(others)
    present = np.flatnonzero(area)
    if not len(present):
        return [labels.shape[axis] // 2]
    low, high = present[0], present[-1]
    quarters = {int(low + round(share * (high - low))) for share in (0.25, 0.75)}
    return [*sorted({*quarters, int(area.argmax())})]


_Draw: TypeAlias = "Callable[[Axes, _Slicer, int | None], None]"


class _Slicer:
    """Cut slices and store the shape of their voxels."""

    def __init__(self, axis: int | None, spacing: Sequence[float]) -> None:
        self.axis = axis
        rows, columns = [s for i, s in enumerate(spacing[-3:]) if axis is None or i != axis][-2:]
        self.aspect = rows / columns

    def cut(self, array: np.ndarray, index: int | None) -> np.ndarray:
        return array if self.axis is None or index is None else np.take(array, index, self.axis)


def _columns(picture: PseudoLabelPicture) -> list:
    """Return title and drawing function of each column."""
    low, high = np.percentile(picture.image, (0.5, 99.5))

    def grey(array: np.ndarray) -> np.ndarray:
        return np.clip((array - low) / max(high - low, 1e-6), 0, 1)

    # Nearly all voxels are sure: a scale from chance to 1 would show one colour.
    low_end = min(float(np.floor(np.percentile(picture.confidence, 2) * 20) / 20), 0.95)

    def whole(axes: Axes, view: _Slicer, index: int | None) -> None:
        axes.imshow(grey(picture.around[index]), cmap="gray", vmin=0, vmax=1, aspect=view.aspect)
        (top, bottom), (left, right) = picture.frame
        corner = (left - 0.5, top - 0.5)  # pixels lie around whole numbers
        axes.add_patch(Rectangle(corner, right - left, bottom - top, fill=False, edgecolor=VERMILLION, linewidth=1))

    def image(axes: Axes, view: _Slicer, index: int | None) -> None:
        shown = grey(view.cut(picture.image, index))
        axes.imshow(shown, cmap="gray", vmin=0, vmax=1, aspect=view.aspect, interpolation="nearest")

    def labels(classes: np.ndarray) -> _Draw:
        def draw(axes: Axes, view: _Slicer, index: int | None) -> None:
            image(axes, view, index)
            colours = class_colours(view.cut(classes, index))
            axes.imshow(colours, aspect=view.aspect, interpolation="nearest")

        return draw

    def change(axes: Axes, view: _Slicer, index: int | None) -> None:
        image(axes, view, index)
        colours = change_colours(view.cut(picture.raw, index), view.cut(picture.rectified, index))
        axes.imshow(colours, aspect=view.aspect, interpolation="nearest")

    def confidence(axes: Axes, view: _Slicer, index: int | None) -> None:
        axes.imshow(view.cut(picture.confidence, index), cmap="cividis", vmin=low_end, vmax=1, aspect=view.aspect)

    columns = [
        ("image", image),
        ("raw", labels(picture.raw)),
        ("rectified", labels(picture.rectified)),
        ("change", change),
        (f"confidence {low_end:.2f}–1", confidence),
    ]
    if _shows_more_than_the_patch(picture):
        columns.insert(0, ("whole slice", whole))
    if picture.relationship_map is not None:
        columns += _map_columns(picture.relationship_map, picture.class_names)
    if picture.truth is not None:
        columns.append(("hidden label", labels(picture.truth)))
    return columns


def _shows_more_than_the_patch(picture: PseudoLabelPicture) -> bool:
    covers = [
        all(low <= 0 and high >= size for (low, high), size in zip(picture.frame, whole.shape, strict=True))
        for whole in picture.around.values()
    ]
    return not all(covers)


def _map_columns(relationship_map: np.ndarray, names: Sequence[str]) -> list:
    # All classes share one scale around zero, because only differences between classes are meaningful.
    centred = relationship_map - relationship_map.mean(0)
    limit = max(float(np.percentile(np.abs(centred), 99)), 1e-6)

    def panel(values: np.ndarray) -> _Draw:
        def draw(axes: Axes, view: _Slicer, index: int | None) -> None:
            axes.imshow(view.cut(values, index), cmap="PuOr_r", vmin=-limit, vmax=limit, aspect=view.aspect)

        return draw

    return [
        (_wrapped(f"M {name}"), panel(values)) for name, values in list(zip(names, centred, strict=True))[:MAX_MAPS]
    ]


def class_colours(labels: np.ndarray) -> np.ndarray:
    """Colour a label map (*grid) as RGBA (*grid, 4); background and voxels below 0 (ignored) are transparent."""
    rgba = np.zeros((*labels.shape, 4))
    for value in np.unique(labels):
        if value > 0:
            rgba[labels == value] = (*to_rgb(CLASS_COLOURS[(value - 1) % len(CLASS_COLOURS)]), OPACITY)
    return rgba


def change_colours(raw: np.ndarray, rectified: np.ndarray) -> np.ndarray:
    """Colour the changes by rectification: foreground added, foreground removed, one class turned into another.

    Args:
        raw: Class indices before rectification, (*grid).
        rectified: Class indices after rectification, (*grid).

    Returns:
        RGBA, (*grid, 4); unchanged voxels are transparent.
    """
    rgba = np.zeros((*raw.shape, 4))
    for mask, colour in (
        ((raw == 0) & (rectified > 0), BLUE),
        ((raw > 0) & (rectified == 0), VERMILLION),
        ((raw > 0) & (rectified > 0) & (raw != rectified), PURPLE),
    ):
        rgba[mask] = (*to_rgb(colour), 0.9)
    return rgba


def _legend_entries(picture: PseudoLabelPicture) -> list[LegendPatch]:
    entries = [
        LegendPatch(color=CLASS_COLOURS[i % len(CLASS_COLOURS)], label=name)
        for i, name in enumerate(picture.class_names[1:8])
    ]
    entries += [LegendPatch(color=BLUE, label="added"), LegendPatch(color=VERMILLION, label="removed")]
    if len(picture.class_names) > 2:
        entries.append(LegendPatch(color=PURPLE, label="class changed"))
    return entries


def _wrapped(name: str) -> str:
    return textwrap.fill(name, COLUMN_CHARACTERS, break_long_words=True)
