"""Which data a command locks before it replaces their plans."""

import pytest

from nnunetv2_crln.preprocessed_dataset.data_locks import existing_data
from nnunetv2_crln.utilities.json_files import read_json, write_json


@pytest.fixture
def plans(tmp_path):
    keys = ("dataset_name", "plans_name", "original_median_spacing_after_transp", "image_reader_writer",
            "transpose_forward", "transpose_backward", "experiment_planner_used", "label_manager",
            "foreground_intensity_properties_per_channel", "original_median_shape_after_transp")  # fmt: skip
    configurations = {name: {"data_identifier": f"data_{name}", "architecture": {}} for name in ("2d", "3d_fullres")}
    content = {**dict.fromkeys(keys, "x"), "configurations": configurations}
    write_json(content, tmp_path / "nnUNetPlans.json")
    return tmp_path


def test_existing_data_of_the_requested_configurations(plans):
    (plans / "data_3d_fullres").mkdir()
    assert existing_data(plans, "nnUNetPlans", ["2d", "3d_fullres", "3d_lowres"]) == [plans / "data_3d_fullres"]
    assert existing_data(plans, "nnUNetPlans", ["2d"]) == []


@pytest.mark.parametrize(
    "entry", [{}, {"data_identifier": "x"}, {"inherits_from": "none"}, {"inherits_from": "2d", "architecture": 1}]
)
def test_an_incomplete_configuration_is_about_to_be_replaced(plans, entry):
    (plans / "data_3d_fullres").mkdir()
    content = read_json(plans / "nnUNetPlans.json")
    content["configurations"]["2d"] = entry
    write_json(content, plans / "nnUNetPlans.json")
    assert existing_data(plans, "nnUNetPlans", ["2d", "3d_fullres"]) == [plans / "data_3d_fullres"]


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_plans_that_cannot_be_read_lead_to_no_data(tmp_path, content):
    if content is not None:
        (tmp_path / "nnUNetPlans.json").write_text(content)
    assert existing_data(tmp_path, "nnUNetPlans", ["3d_fullres"]) == []
