"""V-Net (Milletari et al., 3DV 2016) as semi-supervised work on the left atrium and the pancreas uses it."""

from torch import nn

from nnunetv2_crln.networks.encoder_decoder import EncoderDecoder, Norm


class VNet(EncoderDecoder):
    """V-Net with batch norm, ReLU and 3x3x3 convolutions, without residual connections within its stages.

    Unlike in Milletari's V-Net, strided and transposed convolutions change both resolution and channels, skip
    connections are added, and dropout follows the bottleneck and precedes the output. The defaults are those of Yu et
    al. (UA-MT, MICCAI 2019) and the paper: 16 filters at full resolution, five resolutions, 9.4 million parameters.
    """

    concatenate = False
    default_convolutions = (1, 2, 3, 3, 3)
    default_convolutions_decoder = (3, 3, 2, 1)
    default_norm = nn.BatchNorm3d
    default_dropout = 0.5

    def _downsampling(self, in_channels: int, out_channels: int, norm: Norm) -> list[nn.Module]:
        return [nn.Conv3d(in_channels, out_channels, 2, stride=2), norm(out_channels), nn.ReLU(inplace=True)]

    def _upsampling(self, in_channels: int, out_channels: int, norm: Norm) -> nn.Module:
        return nn.Sequential(
            nn.ConvTranspose3d(in_channels, out_channels, 2, stride=2), norm(out_channels), nn.ReLU(inplace=True)
        )
