"""Plans as nnU-Net writes them: what they must have, the name of their file, which configurations share data."""

import json

import pytest
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.preprocessed_dataset.plans import (
    CONFIGURATION_KEYS,
    check_plans,
    one_configuration_per_data,
    plans_identifier,
    plans_in,
)

CONFIGURATION = {
    **dict.fromkeys(CONFIGURATION_KEYS),
    "data_identifier": "nnUNetPlans_2d",
    "preprocessor_name": "DefaultPreprocessor",
    "batch_size": 2,
    "patch_size": [8, 8],
    "spacing": [1.0, 1.0],
    "architecture": {},
}


def plans(**configurations) -> dict:
    return {
        "dataset_name": "Dataset001_A",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "configurations": configurations,
    }


def test_what_a_configuration_inherits_counts():
    content = plans(**{"2d": {**CONFIGURATION}, "mine": {"inherits_from": "2d", "batch_size": 4}})
    check_plans(content, "/x/Dataset001_A/nnUNetPlans.json", "mine")
    del content["configurations"]["2d"]["spacing"]
    with pytest.raises(UserError, match=r"configuration 'mine' has no spacing\. Make the plans again"):
        check_plans(content, "/x/Dataset001_A/nnUNetPlans.json", "mine")


@pytest.mark.parametrize("key", [*CONFIGURATION_KEYS, "architecture"])
def test_what_nnunet_would_miss_is_named(key):
    content = plans(**{"2d": {name: value for name, value in CONFIGURATION.items() if name != key}})
    with pytest.raises(UserError, match=rf"configuration '2d' has no {key}\. Make the plans again"):
        check_plans(content, "/x/Dataset001_A/nnUNetPlans.json", "2d")


def test_plans_of_nnunets_first_versions_describe_the_network_by_other_entries():
    old = {key: value for key, value in CONFIGURATION.items() if key != "architecture"}
    check_plans(plans(**{"2d": {**old, "UNet_class_name": "PlainConvUNet"}}), "/x/Dataset001_A/nnUNetPlans.json", "2d")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("patch_size", [8, 0], r"patch_size of .2d. is \[8, 0\]; expected integers above 0"),
        ("patch_size", 8, "patch_size of .2d. is 8"),
        ("batch_size", 0, "batch_size of .2d. is 0; expected an integer above 0"),
        ("batch_size", 1.5, r"batch_size of .2d. is 1\.5"),
    ],
)
def test_impossible_values_are_named(key, value, message):
    with pytest.raises(UserError, match=message):
        check_plans(plans(**{"2d": {**CONFIGURATION, key: value}}), "/x/Dataset001_A/nnUNetPlans.json", "2d")


@pytest.mark.parametrize(
    ("parent", "message"),
    [("2d", "'mine' inherits from '2d', which is not there"), ("mine", "'mine', which would inherit from itself")],
)
def test_a_parent_that_cannot_be_is_named(parent, message):
    content = plans(mine={**CONFIGURATION, "inherits_from": parent})
    with pytest.raises(UserError, match=message):
        check_plans(content, "/x/Dataset001_A/nnUNetPlans.json", "mine")


def test_a_copied_file_gives_plans_their_name(tmp_path):
    content = plans(**{"2d": CONFIGURATION})
    (tmp_path / "nnUNetPlans_mine.json").write_text(json.dumps(content))
    assert plans_identifier(tmp_path, content) == "nnUNetPlans_mine"
    (tmp_path / "nnUNetPlans.json").write_text(json.dumps(content))
    assert plans_identifier(tmp_path, content) == "nnUNetPlans"


def test_other_json_files_are_not_taken_for_plans(tmp_path):
    (tmp_path / "dataset.json").write_text("{}")
    (tmp_path / "splits_final.json").write_text("[]")
    (tmp_path / "nnUNetPlans.json").write_text(json.dumps(plans(**{"2d": CONFIGURATION})))
    assert [path.name for path, _ in plans_in(tmp_path)] == ["nnUNetPlans.json"]


def test_configurations_of_one_data_folder_are_listed_with_the_first():
    other = {**CONFIGURATION, "data_identifier": "nnUNetPlans_other"}
    manager = PlansManager(plans(**{"2d": CONFIGURATION, "mine": {"inherits_from": "2d"}, "other": other}))
    assert one_configuration_per_data(manager, ["2d", "mine", "other"]) == {"2d": ["mine"], "other": []}
