"""The teacher that rectifies itself: one module from image to rectified logits."""

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from rectified_network import RectifiedNetwork
from torch import nn

from nnunetv2_crln.modules.feature_taps import FeatureTaps, tapped_channels
from nnunetv2_crln.modules.rectification import CorrectionParameter
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.method.heads import Heads


def test_output_is_logits_plus_the_weighted_map():
    network = PlainConvUNet(1, 3, (4, 6, 8), nn.Conv3d, 3, (1, 2, 2), 1, 3, 1, conv_bias=True, nonlin=nn.ReLU)
    heads = Heads(tapped_channels(network), 3, 3, CRLNSettings(rectification="learned", num_prototypes=2))
    rectified = RectifiedNetwork(network, heads, CorrectionParameter(0.4))
    taps = FeatureTaps(network)
    image = torch.randn(2, 1, 8, 8, 8)
    logits = network(image)
    features = taps.take()
    relationship_map = heads.relationship_map(features, (8, 8, 8), detach=True)
    torch.testing.assert_close(rectified(image), logits + 0.6 * relationship_map)
