"""Encoder, decoder and their blocks as nnU-Net expects them: stages, skips, deep supervision, initial weights."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def convolutions(
    in_channels: int, out_channels: int, number: int, norm_op: type[nn.Module], norm_op_kwargs: dict
) -> nn.Sequential:
    """Stack 3x3x3 convolutions, each followed by a norm layer and ReLU.

    Args:
        in_channels: Input channels of the first convolution.
        out_channels: Output channels of every convolution.
        number: Number of convolutions.
        norm_op: Norm layer, called with the number of channels.
        norm_op_kwargs: Further arguments of the norm layer.

    Returns:
        Module that maps (B, in_channels, X, Y, Z) to (B, out_channels, X, Y, Z).
    """
    layers: list[nn.Module] = []
    for index in range(number):
        channels = in_channels if index == 0 else out_channels
        layers += [
            nn.Conv3d(channels, out_channels, 3, padding=1),
            norm_op(out_channels, **norm_op_kwargs),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class Encoder(nn.Module):
    """Apply stages of decreasing resolution.

    Args:
        stages: One module per resolution, which includes the downsampling before it; full resolution first.
        output_channels: Output channels of each stage.
        dropout: Share of channels dropped after the last stage.
    """

    def __init__(self, stages: Sequence[nn.Module], output_channels: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.output_channels = list(output_channels)
        self.dropout = nn.Dropout3d(dropout)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Encode images.

        Args:
            image: Images, (B, channels, X, Y, Z).

        Returns:
            Output of every stage, full resolution first: (B, output_channels[i], X / 2^i, Y / 2^i, Z / 2^i).

        Raises:
            ValueError: The grid cannot be halved as often as there are stages.
        """
        step = 2 ** (len(self.stages) - 1)
        if any(size % step for size in image.shape[2:]):
            raise ValueError(
                f"A network with {len(self.stages)} resolutions needs patches whose sizes are multiples of {step}, "
                f"found {tuple(image.shape[2:])}. Change patch_size in the plans, or use fewer stages."
            )
        skips = []
        for stage in self.stages:
            image = stage(image)
            skips.append(image)
        skips[-1] = self.dropout(skips[-1])
        return skips


class Decoder(nn.Module):
    """Apply stages of increasing resolution, lowest first, each with a segmentation layer as in nnU-Net's decoder.

    Segmentation layers below full resolution exist without deep supervision too, so that one checkpoint fits both. In
    that case they are frozen, because distributed training does not allow parameters without gradient.

    Args:
        upsamplings: Upsampling layer of each stage.
        stages: Convolutions of each stage, applied after the skip connection is joined.
        channels: Output channels of each stage.
        num_classes: Number of classes, C.
        concatenate: Concatenate the skip connections; if False, add them.
        dropout: Share of channels dropped before the full-resolution segmentation layer.
        deep_supervision: Return the segmentations of all stages, not only the one at full resolution. nnU-Net changes
            this attribute between training and validation.
    """

    def __init__(
        self,
        upsamplings: Sequence[nn.Module],
        stages: Sequence[nn.Module],
        channels: Sequence[int],
        num_classes: int,
        concatenate: bool,
        dropout: float,
        deep_supervision: bool,
    ) -> None:
        super().__init__()
        self.upsamplings = nn.ModuleList(upsamplings)
        self.stages = nn.ModuleList(stages)
        self.seg_layers = nn.ModuleList(nn.Conv3d(number, num_classes, 1) for number in channels)
        self.seg_layers[:-1].requires_grad_(deep_supervision)
        self.concatenate = concatenate
        self.dropout = nn.Dropout3d(dropout)
        self.deep_supervision = deep_supervision

    def forward(self, skips: list[Tensor]) -> Tensor | list[Tensor]:
        """Compute logits from the outputs of the encoder.

        Args:
            skips: Output of each encoder stage, full resolution first, (B, channels, *grid / 2^i).

        Returns:
            Logits (B, C, *grid); with deep supervision a list of those of all stages, full resolution first.
        """
        features = skips[-1]
        segmentations = []
        last = len(self.stages) - 1
        for index, stage in enumerate(self.stages):
            skip = skips[-2 - index]
            features = self.upsamplings[index](features)
            features = stage(torch.cat([features, skip], 1) if self.concatenate else features + skip)
            if self.deep_supervision or index == last:
                head = self.seg_layers[index]
                segmentations.append(head(self.dropout(features) if index == last else features))
        return segmentations[::-1] if self.deep_supervision else segmentations[-1]


class EncoderDecoder(nn.Module):
    """Combine an encoder and a decoder into one network with the interface nnU-Net expects.

    Args:
        encoder: Part from images to features.
        decoder: Part from features to logits.
    """

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Segment images.

        Args:
            image: Images, (B, channels, *grid).

        Returns:
            Logits (B, C, *grid); with deep supervision a list of those of all stages, full resolution first.
        """
        return self.decoder(self.encoder(image))

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """Initialise a convolution as He et al. do; nnU-Net applies this to every module of a network it builds."""
        if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d)):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def check_topology(
    features_per_stage: Sequence[int], convolutions_up: Sequence[int], convolutions_down: Sequence[int], strides: object
) -> None:
    """Check that the plans describe a network that can be built.

    Args:
        features_per_stage: Channels of each stage, full resolution first.
        convolutions_up: Number of convolutions in each decoder stage.
        convolutions_down: Number of convolutions in each encoder stage.
        strides: Strides of each encoder stage as in nnU-Net's plans, or None.

    Raises:
        ValueError: The lists differ in length, or a stage does not halve each axis.
    """
    number = len(features_per_stage)
    if len(convolutions_down) != number or len(convolutions_up) != number - 1:
        raise ValueError(
            f"arch_kwargs: {number} features_per_stage need {number} n_conv_per_stage and {number - 1} "
            f"n_conv_per_stage_decoder, found {len(convolutions_down)} and {len(convolutions_up)}."
        )
    expected = [[1, 1, 1]] + [[2, 2, 2]] * (number - 1)
    if strides is not None and [list(stride) for stride in strides] != expected:  # type: ignore[attr-defined]
        raise ValueError(
            f"arch_kwargs: strides must be {expected}, found {strides}: every stage halves all three axes."
        )
