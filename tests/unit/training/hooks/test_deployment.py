"""Which network validation sees."""

import contextlib
from types import SimpleNamespace

import pytest
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from nnunetv2_crln.training.hooks.deployment import Deployment


class Trainer(Deployment):
    def __init__(self, deploy: str, student: nn.Module, teacher: nn.Module):
        self.network = student
        self.method = SimpleNamespace(
            deploys_teacher=deploy == "teacher",
            teacher_network=teacher,
            teach_at_full_resolution=lambda: None,
            ignoring_features=lambda network: contextlib.nullcontext(),
        )


def distributed(network: nn.Module) -> nn.Module:
    """Wrap a network without the processes that the wrapper wants."""
    wrapper = DistributedDataParallel.__new__(DistributedDataParallel)
    nn.Module.__init__(wrapper)
    wrapper.module = network
    return wrapper


@pytest.mark.parametrize("deploy", ["student", "teacher"])
def test_no_process_waits_for_another_while_each_predicts_its_own_cases(deploy):
    student, teacher = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)
    trainer = Trainer(deploy, distributed(student), teacher)
    with trainer.deployed_network():
        assert trainer.network is (student if deploy == "student" else teacher)
    assert isinstance(trainer.network, DistributedDataParallel)
