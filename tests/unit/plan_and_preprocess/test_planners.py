"""nnU-Net's planners, found by name."""

import pytest

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.plan_and_preprocess.planners import find_nnunet_class, planner_default


def test_classes_of_nnunet():
    planner = find_nnunet_class("experiment_planning", "nnUNetPlannerResEncL", "-pl")
    assert planner_default(planner, "plans_name") == "nnUNetResEncUNetLPlans"
    assert planner_default(planner, "gpu_memory_target_in_gb") == 24
    with pytest.raises(UserError, match="-pl Planer: nnU-Net has no such class"):
        find_nnunet_class("experiment_planning", "Planer", "-pl")
