"""Feature taps on nnU-Net's two U-Nets, with and without torch.compile."""

import copy
import gc
import weakref

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import nn

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.modules.feature_taps import FeatureTaps, tapped_channels, tapped_modules

FEATURES = (4, 6, 8, 10, 12)


def u_net(kind: type = PlainConvUNet, n_stages: int = 4, ndim: int = 3, deep_supervision: bool = True) -> nn.Module:
    """Build a tiny U-Net as nnU-Net does; its decoder has one stage less."""
    blocks = "n_blocks_per_stage" if kind is ResidualEncoderUNet else "n_conv_per_stage"
    return kind(
        input_channels=1,
        n_stages=n_stages,
        features_per_stage=FEATURES[:n_stages],
        conv_op=nn.Conv3d if ndim == 3 else nn.Conv2d,
        kernel_sizes=3,
        strides=(1, *[2] * (n_stages - 1)),
        num_classes=3,
        n_conv_per_stage_decoder=1,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d if ndim == 3 else nn.InstanceNorm2d,
        norm_op_kwargs={"affine": True},
        nonlin=nn.LeakyReLU,
        deep_supervision=deep_supervision,
        **{blocks: 1},
    )


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("kind", [PlainConvUNet, ResidualEncoderUNet])
def test_features_are_what_the_segmentation_heads_see(kind, ndim):
    """Each head of deep supervision, applied to the tapped features, gives the network's output again."""
    network = u_net(kind, ndim=ndim)
    taps = FeatureTaps(network)
    outputs = network(torch.randn(2, 1, *[16] * ndim))
    features = taps.take()
    stages = (features.full, features.half, features.quarter)
    for head, feature, output in zip(reversed(network.decoder.seg_layers), stages, outputs, strict=True):
        torch.testing.assert_close(head(feature), output)
    assert [f.shape[2] for f in stages] == [16, 8, 4]
    assert tapped_channels(network) == tuple(f.shape[1] for f in reversed(stages))


@pytest.mark.parametrize("kind", [PlainConvUNet, ResidualEncoderUNet])
def test_two_decoder_stages_take_the_bottleneck(kind):
    network = u_net(kind, n_stages=3)
    taps = FeatureTaps(network)
    image = torch.randn(1, 1, 8, 8, 8)
    network(image)
    features = taps.take()
    torch.testing.assert_close(features.quarter, network.encoder(image)[-1])
    assert tapped_channels(network) == (features.quarter.shape[1], features.half.shape[1], features.full.shape[1])


def test_more_stages_are_counted_from_the_end_of_the_decoder():
    network = u_net(n_stages=5)
    stages = network.decoder.stages
    assert tapped_modules(network) == (stages[1], stages[2], stages[3])


def test_one_decoder_stage_is_refused():
    with pytest.raises(UserError, match=r"has 1 decoder stage\(s\), at least 2 are needed"):
        FeatureTaps(u_net(n_stages=2))


def test_a_network_that_is_no_u_net_is_refused():
    with pytest.raises(UserError, match=r"Conv3d has no encoder\.stages and decoder\.stages"):
        tapped_channels(nn.Conv3d(1, 2, 3))


def test_taps_leave_the_state_dict_and_the_output_alone():
    network = u_net().eval()
    untouched = copy.deepcopy(network)
    FeatureTaps(network)
    assert list(network.state_dict()) == list(untouched.state_dict())
    image = torch.randn(1, 1, 16, 16, 16)
    for a, b in zip(network(image), untouched(image), strict=True):
        assert torch.equal(a, b)


def test_a_copy_tapped_afterwards_has_features_of_its_own():
    student = u_net()
    teacher = copy.deepcopy(student)
    student_taps, teacher_taps = FeatureTaps(student), FeatureTaps(teacher)
    one, other = torch.randn(1, 1, 16, 16, 16), torch.randn(2, 1, 16, 16, 16)
    student(one)
    teacher(other)
    assert len(student_taps.take().full) == 1
    assert len(teacher_taps.take().full) == 2


def test_taken_or_cleared_features_are_released():
    network = u_net(deep_supervision=False)
    taps = FeatureTaps(network)
    for release in (taps.take, taps.clear):
        network(torch.randn(1, 1, 16, 16, 16))
        reference = weakref.ref(taps._features["full"])
        assert reference() is not None
        release()
        gc.collect()
        assert reference() is None


def test_map_changes_each_of_the_three():
    network = u_net()
    taps = FeatureTaps(network)
    network(torch.randn(3, 1, 16, 16, 16))
    features = taps.take()
    first = features.map(lambda f: f[:1])
    for name in ("quarter", "half", "full"):
        assert torch.equal(getattr(first, name), getattr(features, name)[:1])


@pytest.mark.slow
def test_compiled_network_gives_the_same_features_and_gradients():
    """Compiled before it is tapped, as in nnU-Net's lifecycle; three steps, because the first one differs."""
    plain = u_net(n_stages=3, deep_supervision=False)
    student = copy.deepcopy(plain)
    torch._dynamo.reset()
    compiled = torch.compile(student, backend="eager")
    plain_taps, taps = FeatureTaps(plain), FeatureTaps(student)
    for _ in range(3):
        image = torch.randn(1, 1, 8, 8, 8)
        for network, network_taps in ((plain, plain_taps), (compiled, taps)):
            output = network(image)
            features = network_taps.take()
            network.zero_grad()
            loss = output.mean() + sum(f.square().mean() for f in vars(features).values())
            loss.backward()
        for (name, a), b in zip(plain.named_parameters(), student.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad, msg=lambda m, name=name: f"{name}: {m}")
    with torch.no_grad():
        compiled.eval()
        compiled(image)
    assert not taps.take().full.requires_grad
