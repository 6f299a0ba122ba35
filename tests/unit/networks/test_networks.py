"""V-Net and 3D U-Net: shapes, sizes, and everything nnU-Net asks of a network."""

import copy

import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import nn

from nnunetv2_crln.modules.feature_taps import FeatureTaps, tapped_channels
from nnunetv2_crln.networks.encoder_decoder import EncoderDecoder
from nnunetv2_crln.networks.unet3d import UNet3D
from nnunetv2_crln.networks.vnet import VNet
from nnunetv2_crln.training.method.teacher import EMATeacher

KINDS = [VNet, UNet3D]
SMALL = {
    "features_per_stage": [4, 6, 8, 10],
    "n_conv_per_stage": [1, 2, 1, 1],
    "n_conv_per_stage_decoder": [1, 2, 1],
    "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2]],
}


def small(kind: type[EncoderDecoder], deep_supervision: bool = False, **change) -> EncoderDecoder:
    """Build a network from plans as nnU-Net does, with class and norm named by strings."""
    norm = "BatchNorm3d" if kind is VNet else "InstanceNorm3d"
    return get_network_from_plans(
        f"{kind.__module__}.{kind.__name__}",
        {**SMALL, "norm_op": f"torch.nn.{norm}", **change},
        ["norm_op"],
        2,
        3,
        deep_supervision=deep_supervision,
    )


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def conv(kernel: int, inside: int, outside: int, norm: bool = True) -> int:
    return kernel**3 * inside * outside + outside + 2 * outside * norm


def test_the_vnet_of_the_field_has_its_published_size():
    """The sum over the layers of the published description; reports say 9.44 million."""
    stages = conv(3, 1, 16)
    for channels, number in ((32, 2), (64, 3), (128, 3), (256, 3)):
        stages += conv(2, channels // 2, channels) + number * conv(3, channels, channels)
    for channels, number in ((128, 3), (64, 3), (32, 2), (16, 1)):
        stages += conv(2, 2 * channels, channels) + number * conv(3, channels, channels)
    network = VNet(1, 2)
    lower_heads = parameters(network.decoder.seg_layers[:-1])
    assert parameters(network) - lower_heads == stages + conv(1, 16, 2, norm=False)
    assert 9.44e6 < parameters(network) - lower_heads < 9.45e6
    assert lower_heads == sum(2 * channels + 2 for channels in (128, 64, 32))


def test_the_unet_of_the_field_has_its_published_size():
    network = UNet3D(1, 2)
    assert round((parameters(network) - parameters(network.decoder.seg_layers[:-1])) / 1e6, 2) == 5.88


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_with_and_without_deep_supervision(kind):
    network = small(kind, deep_supervision=True)
    image = torch.randn(2, 2, 16, 8, 24)
    outputs = network(image)
    assert [tuple(o.shape) for o in outputs] == [(2, 3, 16, 8, 24), (2, 3, 8, 4, 12), (2, 3, 4, 2, 6)]
    network.decoder.deep_supervision = False
    network.eval()
    assert network(image).shape == (2, 3, 16, 8, 24)


@pytest.mark.parametrize("kind", KINDS)
def test_one_checkpoint_fits_both(kind):
    """nnU-Net trains with deep supervision and predicts without."""
    trained, deployed = small(kind, deep_supervision=True).eval(), small(kind).eval()
    deployed.load_state_dict(trained.state_dict())
    image = torch.randn(1, 2, 16, 16, 16)
    torch.testing.assert_close(deployed(image), trained(image)[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("deep_supervision", [True, False])
def test_every_parameter_that_wants_a_gradient_gets_one(kind, deep_supervision):
    network = small(kind, deep_supervision)
    outputs = network(torch.randn(2, 2, 16, 16, 16))
    sum(o.square().mean() for o in (outputs if deep_supervision else [outputs])).backward()
    missing = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
    frozen = [name for name, p in network.named_parameters() if not p.requires_grad]
    assert not missing
    assert all(name.startswith("decoder.seg_layers") for name in frozen) and bool(frozen) != deep_supervision


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_tapped_as_those_of_nnunets_networks(kind):
    network = small(kind, deep_supervision=True).eval()
    taps = FeatureTaps(network)
    outputs = network(torch.randn(1, 2, 16, 16, 16))
    features = taps.take()
    stages = (features.full, features.half, features.quarter)
    for head, feature, output in zip(reversed(network.decoder.seg_layers), stages, outputs, strict=True):
        torch.testing.assert_close(head(feature), output)
    assert tapped_channels(network) == tuple(f.shape[1] for f in reversed(stages)) == (8, 6, 4)


def test_the_teacher_averages_running_statistics_and_keeps_no_dropout():
    student = small(VNet)
    teacher = EMATeacher(student)
    before = copy.deepcopy(teacher.module.state_dict())
    student(torch.randn(2, 2, 8, 8, 8) + 3)
    teacher.update(student, 0.5)
    name = "encoder.stages.0.1.running_mean"
    now = student.state_dict()[name]
    assert not torch.equal(now, before[name])
    torch.testing.assert_close(teacher.module.state_dict()[name], 0.5 * (before[name] + now))
    image = torch.randn(2, 2, 8, 8, 8)
    assert torch.equal(teacher.module(image), teacher.module(image))
    assert not torch.equal(student(image), student(image))


@pytest.mark.parametrize("kind", KINDS)
def test_nnunets_sliding_window_predicts(kind):
    predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    network = small(kind).eval()
    predictor.network, predictor.list_of_parameters = network, None
    predictor.allowed_mirroring_axes = None

    class Configuration:
        patch_size = (16, 16, 16)

    class Labels:
        num_segmentation_heads = 3

    predictor.configuration_manager, predictor.label_manager = Configuration, Labels
    logits = predictor.predict_sliding_window_return_logits(torch.randn(2, 20, 16, 30))
    assert logits.shape == (3, 20, 16, 30) and torch.isfinite(logits).all()


@pytest.mark.parametrize("kind", KINDS)
def test_convolutions_start_with_he_weights(kind):
    torch.manual_seed(0)
    network = small(kind, features_per_stage=[16, 32, 32, 32])
    convs = [m for m in network.modules() if isinstance(m, nn.Conv3d) and m.kernel_size == (3, 3, 3)]
    for module in convs:
        fan_in = module.in_channels * 27
        assert module.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.2)
        assert not module.bias.any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_patch_that_cannot_be_halved_is_refused(kind):
    with pytest.raises(ValueError, match=r"multiples of 8, found \(16, 12, 16\)"):
        small(kind)(torch.zeros(1, 2, 16, 12, 16))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_conv_per_stage": [1, 1]}, "4 features_per_stage need 4 n_conv_per_stage and 3"),
        ({"n_conv_per_stage_decoder": [1] * 4}, "found 4 and 4"),
        ({"strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2]]}, "every stage halves all three axes"),
    ],
)
def test_plans_of_another_topology_are_refused(kind, change, message):
    with pytest.raises(ValueError, match=message):
        small(kind, **change)
