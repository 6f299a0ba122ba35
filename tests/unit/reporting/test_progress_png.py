"""progress_crln.png from lists."""

import math
import time

import matplotlib
import numpy as np
import pytest

from nnunetv2_crln.layout import PROGRESS_FILE
from nnunetv2_crln.reporting.curves import PANELS
from nnunetv2_crln.reporting.progress_png import draw_progress, save_progress_png

KEYS = [line.key for panel in PANELS for line in panel.lines]


@pytest.mark.parametrize("epochs", [0, 1, 20, 1000])
def test_any_number_of_epochs_can_be_drawn(tmp_path, epochs):
    save_progress_png({key: [0.5] * epochs for key in KEYS}, tmp_path)
    assert (tmp_path / PROGRESS_FILE).read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == [PROGRESS_FILE]


def test_curves_show_the_measured_epochs():
    figure = draw_progress({"crln_mu": [math.nan, 0.2, math.nan, 0.4]})
    (line,) = figure.axes[0].get_lines()
    assert list(line.get_xdata()) == [1, 3]
    assert list(line.get_ydata()) == [0.2, 0.4]


def test_settings_of_other_figures_stay(tmp_path):
    before = dict(matplotlib.rcParams)
    save_progress_png({"crln_mu": [0.1]}, tmp_path)
    assert dict(matplotlib.rcParams) == before


def test_drawing_is_cheap(tmp_path):
    logging = {key: list(np.random.default_rng(0).random(1000)) for key in KEYS}
    save_progress_png(logging, tmp_path)
    start = time.process_time()
    save_progress_png(logging, tmp_path)
    assert time.process_time() - start < 3


@pytest.mark.parametrize("panels", range(1, len(PANELS) + 1))
def test_places_without_a_panel_stay_empty(panels):
    figure = draw_progress({panel.lines[0].key: [0.1, 0.2] for panel in PANELS[:panels]})
    assert [axes.axison for axes in figure.axes] == [number < panels for number in range(len(figure.axes))]
