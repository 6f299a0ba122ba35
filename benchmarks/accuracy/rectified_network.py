"""Combine a network with its rectification, as the paper deploys it; measured here, but not the default."""

from torch import Tensor, nn

from nnunetv2_crln.modules.feature_taps import FeatureTaps
from nnunetv2_crln.training.method.heads import Heads


class RectifiedNetwork(nn.Module):
    """Predict rectified logits with a network, the heads that were trained with it and its rectifier.

    Args:
        network: Segmentation network with deep supervision switched off.
        heads: Heads that were trained with the network.
        rectifier: Module that maps logits and relationship map, both (B, C, *grid), to rectified logits.
    """

    def __init__(self, network: nn.Module, heads: Heads, rectifier: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.heads = heads
        self.rectifier = rectifier
        self._taps = FeatureTaps(network)

    def forward(self, image: Tensor) -> Tensor:
        """Predict rectified logits (B, C, *grid) from images (B, channels, *grid)."""
        logits = self.network(image)
        features = self._taps.take()
        return self.rectifier(logits, self.heads.second_opinion(logits, features))
