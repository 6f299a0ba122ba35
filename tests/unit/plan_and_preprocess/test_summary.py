"""What planning prints about memory and batch."""

import pytest
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.plan_and_preprocess.summary import describe_configuration


@pytest.mark.parametrize(
    ("block", "parts"),
    [
        (
            {},
            [
                "batch 4 labelled + 4 unlabelled",
                "up to about 16 GB, 2.0 times",
                '"unlabelled_batch_size": 2',
                "gpu_memory_target 4.",
            ],
        ),
        ({"unlabelled_batch_size": 2}, ["4 labelled + 2 unlabelled", "12 GB, 1.5 times", '"unlabelled_batch_size": 1']),
    ],
)
def test_description_tells_memory_and_how_to_save_it(block, parts):
    configuration = {"batch_size": 4, "patch_size": [8, 8], "crln": block, "architecture": {}}
    text = describe_configuration(PlansManager({"configurations": {"2d": configuration}}), "2d", 8)
    assert all(part in text for part in parts)


def test_a_batch_of_one_gets_two_unlabelled_patches():
    configuration = {"batch_size": 1, "patch_size": [8], "architecture": {}}
    text = describe_configuration(PlansManager({"configurations": {"2d": configuration}}), "2d", None)
    assert "1 labelled + 2 unlabelled" in text and "about 3.0 times" in text


def test_nothing_smaller_than_one_unlabelled_patch_is_proposed():
    configuration = {"batch_size": 2, "patch_size": [8], "crln": {"unlabelled_batch_size": 1}, "architecture": {}}
    text = describe_configuration(PlansManager({"configurations": {"2d": configuration}}), "2d", None)
    assert "unlabelled_batch_size" not in text and "plan with a smaller -gpu_memory_target" in text
