"""Which layers are frozen; tests/integration/test_distributed.py shows that distributed training then works."""

import inspect

import pytest
from torch import nn

from nnunetv2_crln.networks.unet3d import UNet3D
from nnunetv2_crln.training.unused_layers import freezing_unused_layers


class Trainer:
    def __init__(self, enable_deep_supervision):
        self.enable_deep_supervision = enable_deep_supervision

    @staticmethod
    def build_network_architecture(plans_manager, network):
        return network


def network_as_nnunets() -> nn.Module:
    """With every segmentation layer to be trained."""
    return UNet3D(1, 2, features_per_stage=(2, 2, 2, 2, 2), deep_supervision=True)


@pytest.mark.parametrize(
    ("deep_supervision", "expected"),
    [(True, []), (False, [f"decoder.seg_layers.{n}.{part}" for n in range(3) for part in ("weight", "bias")])],
)
def test_without_deep_supervision_the_lower_segmentations_are_frozen(deep_supervision, expected):
    trainer = Trainer(deep_supervision)
    with freezing_unused_layers(trainer):
        assert "plans_manager" in inspect.signature(trainer.build_network_architecture).parameters  # as nnU-Net asks
        network = trainer.build_network_architecture(None, network_as_nnunets())
    assert [name for name, p in network.named_parameters() if not p.requires_grad] == expected
    assert network.state_dict().keys() == network_as_nnunets().state_dict().keys()
    assert trainer.build_network_architecture is Trainer.build_network_architecture


def test_networks_without_such_layers_stay_as_they_are():
    trainer = Trainer(False)
    with freezing_unused_layers(trainer):
        network = trainer.build_network_architecture(None, nn.Linear(1, 1))
    assert all(p.requires_grad for p in network.parameters())
