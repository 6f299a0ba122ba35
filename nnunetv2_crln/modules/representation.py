"""Compute the representations that Cooperative Positive Supervision compares (Sec. 3.3)."""

import torch
from torch import Tensor, nn


class RepresentationHead(nn.Module):
    """Map Z4 to representations at selected voxels.

    With ``kernel_size`` 3 the first layer is the paper's dense 3x3x3 convolution with norm. With 1 every layer works on
    single voxels, so that the cost is that of the few sampled ones; Z4 has already seen 3x3x3 neighbourhoods.

    Args:
        in_channels: Channels of Z4, F4.
        out_channels: Channels of a representation.
        ndim: Number of spatial dimensions, 2 or 3.
        kernel_size: Kernel size of the first layer, 1 or 3.
    """

    def __init__(self, in_channels: int, out_channels: int, ndim: int = 3, kernel_size: int = 1) -> None:
        super().__init__()
        conv = nn.Conv3d if ndim == 3 else nn.Conv2d
        norm = nn.InstanceNorm3d if ndim == 3 else nn.InstanceNorm2d
        self.dense: nn.Module = nn.Identity()
        if kernel_size == 3:
            self.dense = nn.Sequential(conv(in_channels, out_channels, 3, padding=1), norm(out_channels, affine=True))
            hidden: nn.Module = nn.Identity()
        else:
            hidden = nn.Sequential(nn.Linear(in_channels, out_channels), nn.LayerNorm(out_channels))
        self.voxelwise = nn.Sequential(hidden, nn.ReLU(), nn.Linear(out_channels, out_channels))

    def forward(self, features: Tensor, voxels: Tensor) -> Tensor:
        """Compute the representations of some voxels.

        Args:
            features: Z4, (B, F4, *grid), in any precision.
            voxels: Flat voxel indices over batch and grid, (N,).

        Returns:
            Representations, (N, out_channels). Gradients reach ``features``.
        """
        return self.at_voxels(self.at_every_voxel(features), voxels)

    def at_every_voxel(self, features: Tensor) -> Tensor:
        """Apply the dense layer, if there is one, once for all choices of voxels.

        Args:
            features: Z4, (B, F4, *grid), in any precision.

        Returns:
            Input of :meth:`at_voxels`, (B, F4 or out_channels, *grid).
        """
        # With kernel size 1 the few voxels are converted later, not the whole of Z4.
        return features if isinstance(self.dense, nn.Identity) else self.dense(features.to(self._dtype))

    def at_voxels(self, dense: Tensor, voxels: Tensor) -> Tensor:
        """Compute the representations of some voxels.

        Args:
            dense: Result of :meth:`at_every_voxel`.
            voxels: Flat voxel indices over batch and grid, (N,).

        Returns:
            Representations, (N, out_channels). Gradients reach ``dense``.
        """
        flat_grid = dense.shape[2:].numel()
        sampled = dense.flatten(2)[torch.div(voxels, flat_grid, rounding_mode="floor"), :, voxels % flat_grid]
        return self.voxelwise(sampled.to(self._dtype))

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype
