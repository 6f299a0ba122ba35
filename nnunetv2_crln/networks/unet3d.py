"""The 3D U-Net (Çiçek et al., MICCAI 2016) as semi-supervised work on BraTS uses it."""

from torch import nn

from nnunetv2_crln.networks.encoder_decoder import EncoderDecoder, Norm


class UNet3D(EncoderDecoder):
    """3D U-Net with max pooling, trilinear upsampling, concatenated skips and two 3x3x3 convolutions per stage.

    The defaults are those of the SSL4MIS benchmark and the paper: 16 to 256 channels over five resolutions, instance
    norm without affine parameters, ReLU, 5.9 million parameters.
    """

    concatenate = True
    default_convolutions = (2, 2, 2, 2, 2)
    default_convolutions_decoder = (2, 2, 2, 2)
    default_norm = nn.InstanceNorm3d
    default_dropout = 0.3

    def _downsampling(self, in_channels: int, out_channels: int, norm: Norm) -> list[nn.Module]:
        return [nn.MaxPool3d(2)]

    def _upsampling(self, in_channels: int, out_channels: int, norm: Norm) -> nn.Module:
        return nn.Upsample(scale_factor=2, mode="trilinear", align_corners=False)
