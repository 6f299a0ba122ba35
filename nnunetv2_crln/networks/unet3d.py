"""The 3D U-Net (Çiçek et al., MICCAI 2016) as semi-supervised work on BraTS uses it."""

from collections.abc import Sequence

from torch import nn

from nnunetv2_crln.networks.encoder_decoder import Decoder, Encoder, EncoderDecoder, check_topology, convolutions


class UNet3D(EncoderDecoder):
    """3D U-Net with max pooling, trilinear upsampling, concatenated skips and two 3x3x3 convolutions per stage.

    The defaults are those of the SSL4MIS benchmark and the paper: 16 to 256 channels over five resolutions, instance
    norm without affine parameters, ReLU, 5.9 million parameters.

    Args:
        input_channels: Number of image channels.
        num_classes: Number of classes, C.
        features_per_stage: Channels of each stage, full resolution first.
        n_conv_per_stage: Number of convolutions in each encoder stage.
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
        n_conv_per_stage: Sequence[int] = (2, 2, 2, 2, 2),
        n_conv_per_stage_decoder: Sequence[int] = (2, 2, 2, 2),
        norm_op: type[nn.Module] = nn.InstanceNorm3d,
        norm_op_kwargs: dict | None = None,
        dropout: float = 0.3,
        strides: Sequence[Sequence[int]] | None = None,
        deep_supervision: bool = False,
    ) -> None:
        check_topology(features_per_stage, n_conv_per_stage_decoder, n_conv_per_stage, strides)
        norm_kwargs = norm_op_kwargs or {}
        features = list(features_per_stage)
        down: list[nn.Module] = [convolutions(input_channels, features[0], n_conv_per_stage[0], norm_op, norm_kwargs)]
        for above, channels, number in zip(features, features[1:], n_conv_per_stage[1:]):
            down.append(nn.Sequential(nn.MaxPool3d(2), convolutions(above, channels, number, norm_op, norm_kwargs)))
        lowest_first = features[::-1]
        up = [
            convolutions(below + channels, channels, number, norm_op, norm_kwargs)
            for below, channels, number in zip(lowest_first, lowest_first[1:], n_conv_per_stage_decoder)
        ]
        upsamplings = [nn.Upsample(scale_factor=2, mode="trilinear", align_corners=False) for _ in up]
        super().__init__(
            Encoder(down, features, dropout),
            Decoder(upsamplings, up, lowest_first[1:], num_classes, True, dropout, deep_supervision),
        )
