"""Draw a small picture of one scan: the slice in which a model is least confident, its label and its confidence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from nnunetv2_crln.reporting.overlay import class_colours, slice_axis
from nnunetv2_crln.reporting.style import plain_style

DPI = 80
PANEL_INCHES = 1.6


def draw_thumbnail(image: np.ndarray, labels: np.ndarray, confidence: np.ndarray, spacing: Sequence[float]) -> Figure:
    """Draw image, label and confidence of one slice side by side.

    Args:
        image: One channel of the image, (X, Y, Z).
        labels: Predicted classes, (X, Y, Z).
        confidence: Confidence in [0, 1], (X, Y, Z).
        spacing: Spacing of each axis, in mm.

    Returns:
        Figure outside pyplot's state, so that nothing has to be closed.
    """
    axis = slice_axis(3, spacing) or 0
    others = tuple(other for other in range(3) if other != axis)
    index = int((1 - confidence).sum(others).argmax())
    grey, classes, sure = (np.take(array, index, axis) for array in (image, labels, confidence))
    low, high = np.percentile(grey, (0.5, 99.5))
    aspect = spacing[others[0]] / spacing[others[1]]
    height = PANEL_INCHES * min(max(aspect * grey.shape[0] / grey.shape[1], 0.5), 2.0)
    with plain_style():
        figure = Figure(figsize=(3 * PANEL_INCHES, height))
        panels = figure.subplots(1, 3)
        for axes in panels:
            axes.set_axis_off()
        for axes in panels[:2]:
            axes.imshow(grey, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), aspect=aspect)
        panels[1].imshow(class_colours(classes), aspect=aspect, interpolation="nearest")
        panels[2].imshow(sure, cmap="cividis", vmin=0, vmax=1, aspect=aspect)
        figure.subplots_adjust(0, 0, 1, 1, wspace=0.02)
    return figure
