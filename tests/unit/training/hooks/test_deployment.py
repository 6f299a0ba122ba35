"""Which network validation sees."""

import contextlib
from types import SimpleNamespace

import pytest
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from nnunetv2_crln.training.hooks.deployment import Deployment
from nnunetv2_crln.training.hooks.locking import Locking


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


class StockValidation:
    """What Deployment needs of nnU-Net's trainer; it remembers which network it validated."""

    def validation_step(self, batch: dict) -> dict:
        self.validated = self.network
        return {"loss": 0.5}

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        self.validated = self.network


class ValidatingTrainer(Trainer, Locking, StockValidation):
    local_rank, enable_deep_supervision = 1, True  # another process has locked the fold


@pytest.mark.parametrize("deploy", ["student", "teacher"])
def test_online_and_final_validation_judge_the_network_that_will_be_deployed(deploy):
    """The best checkpoint is chosen by the first one."""
    student, teacher = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)
    for network in (student, teacher):
        network.decoder = SimpleNamespace(deep_supervision=False)
    trainer = ValidatingTrainer(deploy, student, teacher)
    for validate in (lambda: trainer.validation_step({}), trainer.perform_actual_validation):
        trainer.validated = None
        validate()
        assert trainer.validated is (student if deploy == "student" else teacher) and trainer.network is student
    assert trainer.validated.decoder.deep_supervision  # the online loss takes every resolution
