import pytest

from nnunetv2_crln.reporting.formatting import class_name


@pytest.mark.parametrize(
    ("key", "name"), [("1", "liver"), ("2", "spleen"), ("(2, 3)", "both"), ("(4,)", "rim"), ("7", "7")]
)
def test_names_of_classes_and_regions_by_the_keys_of_nnunets_summaries(key, name):
    labels = {"background": 0, "liver": 1, "spleen": [2], "both": [2, 3], "rim": [4]}
    assert class_name({"labels": labels}, key) == name
