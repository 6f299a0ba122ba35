"""V-Net (Milletari et al., 3DV 2016) as semi-supervised work on the left atrium and the pancreas uses it."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from nnunetv2_crln.networks.encoder_decoder import Decoder, Encoder, EncoderDecoder, check_topology, convolutions


class VNet(EncoderDecoder):
    """V-Net with batch norm, ReLU and 3x3x3 convolutions, without residual connections within its stages.

    Unlike in Milletari's V-Net, strided and transposed convolutions change both resolution and channels, skip
    connections are added, and dropout follows the bottleneck and precedes the output. The defaults are those of Yu et
    al. (UA-MT, MICCAI 2019) and the paper: 16 filters at full resolution, five resolutions, 9.4 million parameters.

    Args:
        input_channels: Number of image channels.
        num_classes: Number of classes, C.
        features_per_stage: Channels of each stage, full resolution first.
        n_conv_per_stage: Number of convolutions in each encoder stage, not counting the strided one.
        n_conv_per_stage_decoder: Number of convolutions in each decoder stage, lowest resolution first.
        norm_op: Norm layer, called with the number of channels.
        norm_op_kwargs: Further arguments of the norm layer.
        dropout: Share of channels dropped after the bottleneck and before the output.
        strides: Strides in the plans, which nnU-Net reads for deep supervision; only checked here.
        deep_supervision: Return the segmentations of all decoder stages.

    Raises:
        ValueError: The lists differ in length, or a stage does not halve each axis.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        features_per_stage: Sequence[int] = (16, 32, 64, 128, 256),
        n_conv_per_stage: Sequence[int] = (1, 2, 3, 3, 3),
        n_conv_per_stage_decoder: Sequence[int] = (3, 3, 2, 1),
        norm_op: type[nn.Module] = nn.BatchNorm3d,
        norm_op_kwargs: dict | None = None,
        dropout: float = 0.5,
        strides: Sequence[Sequence[int]] | None = None,
        deep_supervision: bool = False,
    ) -> None:
        check_topology(features_per_stage, n_conv_per_stage_decoder, n_conv_per_stage, strides)
        norm_kwargs = norm_op_kwargs or {}

        def resample(kind: type[nn.Module], in_channels: int, out_channels: int) -> list[nn.Module]:
            return [
                kind(in_channels, out_channels, 2, stride=2),
                norm_op(out_channels, **norm_kwargs),
                nn.ReLU(inplace=True),
            ]

        def same(channels: int, number: int) -> nn.Sequential:
            return convolutions(channels, channels, number, norm_op, norm_kwargs)

        features = list(features_per_stage)
        down: list[nn.Module] = [convolutions(input_channels, features[0], n_conv_per_stage[0], norm_op, norm_kwargs)]
        for above, channels, number in zip(features, features[1:], n_conv_per_stage[1:]):
            down.append(nn.Sequential(*resample(nn.Conv3d, above, channels), same(channels, number)))
        lowest_first = features[::-1]
        upsamplings = [
            nn.Sequential(*resample(nn.ConvTranspose3d, below, channels)) for below, channels in pairwise(lowest_first)
        ]
        up = [same(channels, number) for channels, number in zip(lowest_first[1:], n_conv_per_stage_decoder)]
        super().__init__(
            Encoder(down, features, dropout),
            Decoder(upsamplings, up, lowest_first[1:], num_classes, False, dropout, deep_supervision),
        )
