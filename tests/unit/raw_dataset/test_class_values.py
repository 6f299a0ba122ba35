"""Every form of "labels" that nnU-Net takes, held against nnU-Net's own label manager."""

import pytest
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunetv2_crln.raw_dataset.classes import (
    absent_classes,
    all_values,
    class_values,
    foreground_names,
    names_by_value,
)

CLASSES = {"background": 0, "liver": [1], "spleen": 2}
SHUFFLED = {"background": 0, "tumour": 2, "organ": 1, "ignore": 3}
REGIONS = {"background": 0, "nothing": [0, 0], "whole": [1, 2, 3], "core": [2], "rim": 3, "ignore": 4}


def manager_of(labels: dict) -> LabelManager:
    regions = any(len(values) > 1 for values in class_values({"labels": labels}).values())
    return LabelManager(labels, [1, 2, 3] if regions else None)


@pytest.mark.parametrize("labels", [CLASSES, SHUFFLED, REGIONS])
def test_values_are_those_of_nnunet(labels):
    manager = manager_of(labels)
    values = class_values({"labels": labels}).values()
    if manager.has_regions:
        as_tuples = [region if isinstance(region, tuple) else (region,) for region in manager.foreground_regions]
        assert list(values) == as_tuples
    else:
        assert sorted(value for (value,) in values) == list(manager.foreground_labels)
    ignored = [manager.ignore_label] if manager.has_ignore_label else []
    assert all_values({"labels": labels}) == [*manager.all_labels, *ignored]


@pytest.mark.parametrize(
    ("labels", "names"),
    [(CLASSES, ["liver", "spleen"]), (SHUFFLED, ["organ", "tumour"]), (REGIONS, ["whole", "core", "rim"])],
)
def test_names_follow_the_heads_of_the_network(labels, names):
    assert foreground_names({"labels": labels}, manager_of(labels)) == names


def test_names_follow_the_values_that_are_written():
    assert names_by_value({"labels": CLASSES}, 4) == ["background", "liver", "spleen", "3"]
    assert names_by_value({"labels": SHUFFLED}, 3) == ["background", "organ", "tumour"]
    regions = {"labels": REGIONS, "regions_class_order": [1, 3, 2]}
    assert names_by_value(regions, 4) == ["background", "whole", "rim", "core"]


def test_a_region_is_absent_if_none_of_its_values_occurs():
    assert absent_classes({"labels": REGIONS}, [0, 1]) == ["core", "rim"]
    assert absent_classes({"labels": CLASSES}, [0, 1, 2]) == []
