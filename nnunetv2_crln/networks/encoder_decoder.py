"""Encoder, decoder and their blocks in the form nnU-Net expects: stages, skips, deep supervision, initial weights."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def convolutions(
    in_channels: int, out_channels: int, number: int, norm_op: type[nn.Module], norm_op_kwargs: dict
) -> nn.Sequential:
    """``number`` times 3x3x3 convolution, norm, ReLU; only the first one changes the number of channels."""
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
    """Stages of falling resolution.

    Args:
        stages: One per resolution, the downsampling in front included; full resolution first.
        output_channels: Of each stage.
        dropout: Share of channels dropped after the last stage.
    """

    def __init__(self, stages: Sequence[nn.Module], output_channels: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.output_channels = list(output_channels)
        self.dropout = nn.Dropout3d(dropout)

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, channels, *grid) to the output of every stage, full resolution first.

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
    """Stages of rising resolution, lowest first, each with a segmentation layer as in nnU-Net's decoder.

    Segmentation layers below full resolution exist without deep supervision too, so that one checkpoint fits both; they
    are frozen then, since distributed training does not allow parameters without gradient.

    Args:
        upsamplings: One per stage.
        stages: Convolutions after the skip was joined.
        channels: Of the output of each stage.
        num_classes: C.
        concatenate: Skips are concatenated; otherwise added.
        dropout: Share of channels dropped before the full-resolution segmentation layer.
        deep_supervision: Return the segmentations of all stages, full resolution first, instead of that one alone.
            nnU-Net changes it between training and validation.
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
        """Outputs of the encoder to logits (B, C, *grid), or to a list of them with deep supervision."""
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
    """Encoder and decoder as one network; what nnU-Net expects of a network class."""

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """(B, channels, *grid) to logits (B, C, *grid), or to a list of them with deep supervision."""
        return self.decoder(self.encoder(image))

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """He initialisation of convolutions; nnU-Net applies it to every module of a network it builds."""
        if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d)):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def check_topology(
    features_per_stage: Sequence[int], convolutions_up: Sequence[int], convolutions_down: Sequence[int], strides: object
) -> None:
    """Refuse plans that describe another network.

    Args:
        features_per_stage: Full resolution first.
        convolutions_up: Number in each decoder stage.
        convolutions_down: Number in each encoder stage.
        strides: Of each encoder stage, as nnU-Net's plans have them, or None.

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
