"""Read the decoder features of an nnU-Net network while it runs (Z2, Z3 and Z4 of the paper)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from nnunetv2_crln.errors import UserError


@dataclass(frozen=True)
class DecoderFeatures:
    """Decoder features of one forward pass.

    Attributes:
        quarter: Z2, third-from-last decoder stage (the bottleneck if there are only two stages), (B, F2, *grid / 4).
        half: Z3, second-to-last decoder stage, (B, F3, *grid / 2).
        full: Z4, last decoder stage, at full resolution, (B, F4, *grid).
    """

    quarter: Tensor
    half: Tensor
    full: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> "DecoderFeatures":
        """Apply a function to each of the three tensors."""
        return DecoderFeatures(function(self.quarter), function(self.half), function(self.full))


def tapped_modules(network: nn.Module) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Return the modules whose outputs are Z2, Z3 and Z4.

    Raises:
        UserError: The network has no nnU-Net encoder and decoder, or fewer than two decoder stages.
    """
    encoder, decoder = getattr(network, "encoder", None), getattr(network, "decoder", None)
    decoder_stages = getattr(decoder, "stages", None)
    encoder_stages = getattr(encoder, "stages", None)
    if decoder_stages is None or encoder_stages is None:
        raise UserError(
            f"CRLN reads the decoder stages of a U-Net; {type(network).__name__} has no encoder.stages and "
            "decoder.stages. Choose a plan with a U-Net architecture (any nnU-Net default or ResEnc preset)."
        )
    if len(decoder_stages) < 2:
        raise UserError(
            f"CRLN needs features at full, half and quarter resolution; this plan's network has "
            f"{len(decoder_stages)} decoder stage(s), at least 2 are needed. Plan with larger images or edit n_stages."
        )
    quarter = decoder_stages[-3] if len(decoder_stages) >= 3 else encoder_stages[-1]
    return quarter, decoder_stages[-2], decoder_stages[-1]


def tapped_channels(network: nn.Module) -> tuple[int, int, int]:
    """Return the channel counts (F2, F3, F4) of the tapped features.

    A decoder stage has as many channels as the encoder stage that feeds its skip connection, and the bottleneck is the
    last encoder stage, so the first three entries of the encoder's list are right for every topology.

    Raises:
        UserError: The network has no nnU-Net encoder and decoder, or fewer than two decoder stages.
    """
    tapped_modules(network)
    channels: Sequence[int] = network.encoder.output_channels  # type: ignore[union-attr, assignment]
    return channels[2], channels[1], channels[0]


class FeatureTaps:
    """Keep the decoder features of the last forward pass, by forward hooks, until they are taken.

    The network stays as nnU-Net built it: same class, same keys in its state dict.

    Args:
        network: Network with nnU-Net's ``encoder`` and ``decoder``.

    Raises:
        UserError: The network has no nnU-Net encoder and decoder, or fewer than two decoder stages.
    """

    def __init__(self, network: nn.Module) -> None:
        self._features: dict[str, Tensor] = {}
        for name, module in zip(("quarter", "half", "full"), tapped_modules(network), strict=True):
            module.register_forward_hook(self._keep(name))

    def _keep(self, name: str) -> Callable[[nn.Module, tuple, Tensor], None]:
        def hook(_module: nn.Module, _inputs: tuple, output: Tensor) -> None:
            self._features[name] = output

        return hook

    def take(self) -> DecoderFeatures:
        """Return the features of the last forward pass and release them, so that no graph outlives its step."""
        features = DecoderFeatures(**self._features)
        self._features.clear()
        return features

    def clear(self) -> None:
        """Release features that were not taken."""
        self._features.clear()
