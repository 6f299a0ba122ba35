"""Lists of an epoch log: leaving out what was not measured."""

import math

from nnunetv2_crln.layout import CURVE_PREFIX, MONITORED
from nnunetv2_crln.reporting.curves import PANELS, drawable, finite_points


def test_finite_points_skip_what_was_not_measured():
    assert finite_points({"a": [1, math.nan, 3, None, math.inf]}, "a") == ([0, 2], [1.0, 3.0])
    assert finite_points({}, "a") == ([], [])


def test_panels_without_values_are_not_drawn():
    panels = drawable({"crln_mu": [0.1], "crln_supervised": [1.0], "crln_relationship_map": [math.nan]})
    assert [[line.key for line in panel.lines] for panel in panels] == [["crln_supervised"], ["crln_mu"]]


def test_every_monitored_value_has_a_curve():
    assert {f"{CURVE_PREFIX}{name}" for name in MONITORED} <= {line.key for panel in PANELS for line in panel.lines}
