"""Encoder, decoder and their blocks as nnU-Net expects them: stages, skips, deep supervision, initial weights."""

import functools
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

Norm = Callable[[int], nn.Module]
"""Norm layer, called with the number of channels."""


def convolutions(in_channels: int, out_channels: int, number: int, norm: Norm) -> nn.Sequential:
    """Stack 3x3x3 convolutions, each followed by a norm layer and ReLU.

    Args:
        in_channels: Input channels of the first convolution.
        out_channels: Output channels of every convolution.
        number: Number of convolutions.
        norm: Norm layer, called with the number of channels.

    Returns:
        Module that maps (B, in_channels, X, Y, Z) to (B, out_channels, X, Y, Z).
    """
    layers: list[nn.Module] = []
    for index in range(number):
        channels = in_channels if index == 0 else out_channels
        layers += [nn.Conv3d(channels, out_channels, 3, padding=1), norm(out_channels), nn.ReLU(inplace=True)]
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
    """Build a network of an encoder and a decoder from nnU-Net's plans.

    Subclasses define the defaults and how the resolution changes between stages. Arguments that are None take the
    defaults of the subclass.

    Args:
        input_channels: Number of image channels.
        num_classes: Number of classes, C.
        features_per_stage: Channels of each stage, full resolution first.
        n_conv_per_stage: Number of convolutions in each encoder stage, not counting a strided one.
        n_conv_per_stage_decoder: Number of convolutions in each decoder stage, lowest resolution first.
        norm_op: Norm layer, called with the number of channels.
        norm_op_kwargs: Further arguments of the norm layer.
        dropout: Share of channels dropped after the bottleneck and before the output.
        strides: Strides in the plans, which nnU-Net reads for deep supervision; only checked here.
        deep_supervision: Return the segmentations of all decoder stages.

    Raises:
        ValueError: The lists differ in length, or a stage does not halve each axis.
    """

    concatenate: ClassVar[bool]  # resampling keeps the channels and skips are concatenated; otherwise skips are added
    default_convolutions: ClassVar[tuple[int, ...]]
    default_convolutions_decoder: ClassVar[tuple[int, ...]]
    default_norm: ClassVar[type[nn.Module]]
    default_dropout: ClassVar[float]

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        features_per_stage: Sequence[int] = (16, 32, 64, 128, 256),
        n_conv_per_stage: Sequence[int] | None = None,
        n_conv_per_stage_decoder: Sequence[int] | None = None,
        norm_op: type[nn.Module] | None = None,
        norm_op_kwargs: dict | None = None,
        dropout: float | None = None,
        strides: Sequence[Sequence[int]] | None = None,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        down = self.default_convolutions if n_conv_per_stage is None else n_conv_per_stage
        up = self.default_convolutions_decoder if n_conv_per_stage_decoder is None else n_conv_per_stage_decoder
        dropout = self.default_dropout if dropout is None else dropout
        check_topology(features_per_stage, up, down, strides)
        norm = functools.partial(norm_op or self.default_norm, **(norm_op_kwargs or {}))

        stages: list[nn.Module] = [convolutions(input_channels, features_per_stage[0], down[0], norm)]
        for (above, channels), number in zip(pairwise(features_per_stage), down[1:]):
            resampled = above if self.concatenate else channels
            stages.append(
                nn.Sequential(
                    *self._downsampling(above, channels, norm), convolutions(resampled, channels, number, norm)
                )
            )
        self.encoder = Encoder(stages, features_per_stage, dropout)

        lowest_first = list(features_per_stage)[::-1]
        upsamplings = [self._upsampling(below, channels, norm) for below, channels in pairwise(lowest_first)]
        joined = [
            convolutions(below + channels if self.concatenate else channels, channels, number, norm)
            for (below, channels), number in zip(pairwise(lowest_first), up)
        ]
        self.decoder = Decoder(
            upsamplings, joined, lowest_first[1:], num_classes, self.concatenate, dropout, deep_supervision
        )

    def _downsampling(self, in_channels: int, out_channels: int, norm: Norm) -> list[nn.Module]:
        """Return the layers that halve the resolution of (B, in_channels, X, Y, Z)."""
        raise NotImplementedError

    def _upsampling(self, in_channels: int, out_channels: int, norm: Norm) -> nn.Module:
        """Return the layer that doubles the resolution of (B, in_channels, X, Y, Z)."""
        raise NotImplementedError

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
