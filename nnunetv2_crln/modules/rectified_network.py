"""A teacher that rectifies its own predictions: what the article deploys; measured here, not the default."""

from torch import Tensor, nn

from nnunetv2_crln.modules.dim import DynamicInteractionModule
from nnunetv2_crln.modules.feature_taps import FeatureTaps


class RectifiedNetwork(nn.Module):
    """Network, DIM and rectification as one module from image to rectified logits.

    Args:
        network: With deep supervision off.
        dim: Trained with it.
        rectifier: Called with logits and relationship map.
    """

    def __init__(self, network: nn.Module, dim: DynamicInteractionModule, rectifier: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.dim = dim
        self.rectifier = rectifier
        self._taps = FeatureTaps(network)

    def forward(self, image: Tensor) -> Tensor:
        """(B, channels, *grid) to rectified logits (B, C, *grid)."""
        logits = self.network(image)
        features = self._taps.take()
        return self.rectifier(logits, self.dim(features.quarter, features.half, logits.shape[2:]))
