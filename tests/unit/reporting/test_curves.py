"""Lists of an epoch log: completing old ones, leaving out what was not measured."""

import math

from nnunetv2_crln.reporting.curves import MONITORED, PANELS, PREFIX, drawable, finite_points, restore


def test_restore_fills_the_past_of_new_keys_with_nan_and_keeps_known_values():
    logging = {"crln_mu": [0.1, 0.2], "val_losses": [1.0, 0.5]}
    restore(logging, ["crln_mu", "crln_pseudo_dice"], epochs=2)
    assert logging["crln_mu"] == [0.1, 0.2]
    assert len(logging["crln_pseudo_dice"]) == 2
    assert all(math.isnan(value) for value in logging["crln_pseudo_dice"])


def test_restore_never_shortens():
    logging = {"crln_mu": [0.1, 0.2, 0.3]}
    restore(logging, ["crln_mu"], epochs=2)
    assert logging["crln_mu"] == [0.1, 0.2, 0.3]


def test_finite_points_skip_what_was_not_measured():
    assert finite_points({"a": [1, math.nan, 3, None, math.inf]}, "a") == ([0, 2], [1.0, 3.0])
    assert finite_points({}, "a") == ([], [])


def test_panels_without_values_are_not_drawn():
    panels = drawable({"crln_mu": [0.1], "crln_supervised": [1.0], "crln_relationship_map": [math.nan]})
    assert [[line.key for line in panel.lines] for panel in panels] == [["crln_supervised"], ["crln_mu"]]


def test_every_monitored_value_has_a_curve():
    assert {f"{PREFIX}{name}" for name in MONITORED} <= {line.key for panel in PANELS for line in panel.lines}
