"""Every form of "labels" that nnU-Net takes, held against nnU-Net's own label manager."""

import pytest
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.raw_dataset.classes import (
    absent_classes,
    all_values,
    changed_labels,
    class_values,
    foreground_names,
    label_definition,
    names_by_value,
)

CLASSES = {"background": 0, "liver": [1], "spleen": 2}
SHUFFLED = {"background": 0, "tumour": 2, "organ": 1, "ignore": 3}
REGIONS = {"background": 0, "nothing": [0, 0], "whole": [1, 2, 3], "core": [2], "rim": 3, "ignore": 4}
TUMOURS = {"background": 0, "whole tumour": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4}


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


@pytest.mark.parametrize("labels", [CLASSES, SHUFFLED, REGIONS])
def test_labels_written_in_another_form_have_not_changed(labels):
    as_lists = {name: entry if isinstance(entry, list) else [entry] for name, entry in labels.items()}
    assert changed_labels({"labels": labels}, {"labels": as_lists}) == []


def test_the_order_of_classes_is_no_change():
    assert changed_labels({"labels": CLASSES}, {"labels": dict(reversed(CLASSES.items()))}) == []


@pytest.mark.parametrize(
    ("before", "now", "change"),
    [
        (CLASSES, {**CLASSES, "spleen": 3}, "spleen: 2 → 3"),
        (CLASSES, {**CLASSES, "kidney": 3}, "kidney: none → 3"),
        (CLASSES, {**CLASSES, "ignore": 3}, "ignore: none → 3"),
        (SHUFFLED, {**SHUFFLED, "ignore": 4}, "ignore: 3 → 4"),
        (REGIONS, {**REGIONS, "core": [2, 3]}, "core: 2 → 2, 3"),
        ({"background": 0, "a": [1, 2], "b": 2}, {"background": 0, "b": 2, "a": [1, 2]}, "order of the regions"),
    ],
)
def test_changed_labels_are_named(before, now, change):
    (found,) = changed_labels({"labels": before}, {"labels": now})
    assert found.startswith(change)


def test_regions_that_are_written_otherwise_have_changed():
    before, now = ({"labels": TUMOURS, "regions_class_order": order} for order in ([1, 2, 3], [1, 3, 2]))
    assert changed_labels(before, now) == ["regions_class_order: 1, 2, 3 → 1, 3, 2"]


def test_labels():
    found = label_definition({"labels": {"background": 0, "spleen": 1, "liver": 2}})
    assert found.classes == {"spleen": (1,), "liver": (2,)}
    assert found.ignore_label is None
    assert found.known_in_reference == found.known_labels == {0, 1, 2}


def test_regions_and_ignore_label():
    found = label_definition({"labels": TUMOURS})
    assert found.classes == {"whole tumour": (1, 2, 3), "core": (2, 3), "enhancing": (3,)}
    assert found.ignore_label == 4
    assert found.known_labels == {0, 1, 2, 3}
    assert found.known_in_reference == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("labels", [TUMOURS, {"background": 0, "b": 2, "a": 1}, {"background": 0, "a": 1, "ignore": 2}])
def test_agrees_with_nnunet(labels):
    manager = LabelManager(labels, regions_class_order=[1, 2, 3])
    ours = label_definition({"labels": labels})
    theirs = manager.foreground_regions if manager.has_regions else manager.foreground_labels
    as_tuples = {tuple(item) if isinstance(item, (list, tuple)) else (int(item),) for item in theirs}
    assert set(ours.classes.values()) == as_tuples
    assert ours.ignore_label == manager.ignore_label
    assert ours.known_labels == {int(label) for label in manager.all_labels}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"0": "background", "1": "atrium"}, r"'0' is 'background', expected a label value"),
        ({"background": 0, "a": []}, r"'a' is \[\], expected a label value"),
        ({"background": 0}, "no foreground class"),
        ({"background": 0, "a": 1, "ignore": [2, 3]}, "ignore label in dataset.json must be one integer"),
    ],
)
def test_wrong_labels(labels, message):
    with pytest.raises(UserError, match=message):
        label_definition({"labels": labels})
