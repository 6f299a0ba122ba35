"""The trainer that an exported model names: nnU-Net builds the network with it."""

import pytest

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.export import _stock_trainer

TRAINERS = """
from nnunetv2.training.nnUNetTrainer.variants.network_architecture.nnUNetTrainerBN import nnUNetTrainerBN

from nnunetv2_crln.training.variants import nnUNetTrainer_CRLN


class nnUNetTrainer_CRLN_BN(nnUNetTrainer_CRLN, nnUNetTrainerBN):
    pass


class nnUNetTrainer_CRLN_mine(nnUNetTrainer_CRLN):
    @staticmethod
    def build_network_architecture(*arguments, **keywords):
        raise NotImplementedError
"""


@pytest.fixture
def derived_trainers(tmp_path, monkeypatch):
    (tmp_path / "derived_trainers_for_the_export.py").write_text(TRAINERS)
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path))


@pytest.mark.parametrize(
    ("trainer", "stock"),
    [
        ("nnUNetTrainer_CRLN", "nnUNetTrainer"),
        ("nnUNetTrainer_MeanTeacher_short", "nnUNetTrainer"),
        ("nnUNetTrainer_CRLN_NoMirroring", "nnUNetTrainer"),
        ("nnUNetTrainer_CRLN_BN", "nnUNetTrainerBN"),
    ],
)
def test_it_is_the_one_of_nnunet_that_builds_the_same_network(derived_trainers, trainer, stock):
    assert _stock_trainer(trainer) == stock


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        ("nnUNetTrainer_CRLN_mine", "build_network_architecture of nnUNetTrainer_CRLN_mine.*installed"),
        ("nnUNetTrainer_CRLN_gone", "not installed.*nnUNet_extTrainer"),
    ],
)
def test_a_network_that_nnunet_cannot_build_is_refused(derived_trainers, trainer, message):
    with pytest.raises(UserError, match=message):
        _stock_trainer(trainer)
