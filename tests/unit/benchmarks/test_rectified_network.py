"""The teacher that rectifies itself: one module from image to rectified logits."""

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from rectified_network import RectifiedNetwork
from torch import nn

from nnunetv2_crln.modules.dim import DynamicInteractionModule
from nnunetv2_crln.modules.feature_taps import FeatureTaps, tapped_channels
from nnunetv2_crln.modules.rectification import CorrectionParameter


def test_output_is_logits_plus_the_weighted_map():
    network = PlainConvUNet(1, 3, (4, 6, 8), nn.Conv3d, 3, (1, 2, 2), 1, 3, 1, conv_bias=True, nonlin=nn.ReLU)
    dim = DynamicInteractionModule(3, 2, tapped_channels(network)[:2])
    rectified = RectifiedNetwork(network, dim, CorrectionParameter(0.4))
    taps = FeatureTaps(network)
    image = torch.randn(2, 1, 8, 8, 8)
    logits = network(image)
    features = taps.take()
    relationship_map = dim(features.quarter, features.half, (8, 8, 8))
    torch.testing.assert_close(rectified(image), logits + 0.6 * relationship_map)
