"""Combine a network with its rectification, as the paper deploys it; measured here, but not the default."""

from torch import Tensor, nn

from nnunetv2_crln.modules.dim import DynamicInteractionModule
from nnunetv2_crln.modules.feature_taps import FeatureTaps


class RectifiedNetwork(nn.Module):
    """Predict rectified logits with a network, its dynamic interaction module (DIM) and its rectifier.

    Args:
        network: Segmentation network with deep supervision switched off.
        dim: DIM that was trained with the network.
        rectifier: Module that maps logits and relationship map, both (B, C, *grid), to rectified logits.
    """

    def __init__(self, network: nn.Module, dim: DynamicInteractionModule, rectifier: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.dim = dim
        self.rectifier = rectifier
        self._taps = FeatureTaps(network)

    def forward(self, image: Tensor) -> Tensor:
        """Predict rectified logits (B, C, *grid) from images (B, channels, *grid)."""
        logits = self.network(image)
        features = self._taps.take()
        return self.rectifier(logits, self.dim(features.quarter, features.half, logits.shape[2:]))
