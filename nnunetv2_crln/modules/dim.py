"""Dynamic Interaction Module (DIM): class prototypes interact with multi-resolution features (Sec. 3.2.1, Eq. 3-7)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from nnunetv2_crln.modules.upsampling import upsample_linear

# Output channels that a dense convolution computes together; fewer cost the same.
_VECTOR_WIDTH = 16
_CONV = {2: F.conv2d, 3: F.conv3d}
# Channels times the first two (in 2d: both) axes, up to which torch does not give a single image to oneDNN.
_UNFOLDED = 20480


class Tokens(nn.Module):
    """Turn features into tokens: a 1x1x1 convolution, then LayerNorm over the channels.

    Args:
        in_channels: Channels of the features, C_in.
        out_channels: Channels of the tokens, C_out.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.pointwise = nn.Linear(in_channels, out_channels)
        self.norm = nn.LayerNorm(out_channels)

    def forward(self, features: Tensor) -> Tensor:
        """Convert features (B, C_in, *grid) to tokens (B, voxels, C_out)."""
        return self.norm(self.pointwise(features.flatten(2).transpose(1, 2)))


class PrototypeAttention(nn.Module):
    """Let prototypes absorb the features of one image: cross-attention block I (Eq. 3-4).

    ``A = Q K^T / sqrt(F)``, ``P' = P + proj(softmax_voxels(A) V)``, ``P'' = P' + MLP(LN(P'))``.
    Groups of prototypes do not attend to each other, so all C * R queries run as one batch.

    Args:
        channels: Channels of prototypes and features, F.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.tokens = Tokens(channels, channels)
        self.query_norm = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.projection = nn.Linear(channels, channels)
        self.mlp = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, 4 * channels),
            nn.GELU(),
            nn.Linear(4 * channels, channels),
        )

    def forward(self, prototypes: Tensor, features: Tensor) -> Tensor:
        """Update the prototypes with the features of each image.

        Args:
            prototypes: Learned prototypes, (C*R, F).
            features: Z2, (B, F, *grid).

        Returns:
            Image-specific prototypes, (B, C*R, F). Gradients reach both inputs.
        """
        tokens = self.tokens(features)
        query = self.query(self.query_norm(prototypes)).repeat(features.shape[0], 1, 1)
        # With an axis for heads torch's memory-efficient kernels take it; without, the scores of all voxels are kept.
        attended = F.scaled_dot_product_attention(
            query.unsqueeze(1), self.key(tokens).unsqueeze(1), self.value(tokens).unsqueeze(1)
        ).squeeze(1)
        updated = prototypes + self.projection(attended)
        return updated + self.mlp(updated)


class ProximityMaps(nn.Module):
    """Compute queries and keys of the proximity maps ``A = Q K^T / sqrt(F)`` on Z3: cross-attention block II (Eq. 5).

    The value path of block II is left out: it would only change prototypes that nothing reads afterwards.

    Args:
        prototype_channels: Channels of the prototypes, F2.
        channels: Channels of Z3, F3.
    """

    def __init__(self, prototype_channels: int, channels: int) -> None:
        super().__init__()
        self.transfer = nn.Linear(prototype_channels, channels)
        self.query_norm = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels)
        self.tokens = Tokens(channels, channels)
        self.key = nn.Linear(channels, channels)

    def forward(self, prototypes: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the queries and keys whose inner product is the proximity map.

        Args:
            prototypes: Image-specific prototypes, (B, C*R, F2).
            features: Z3, (B, F3, *grid).

        Returns:
            Queries (B, C*R, F3), which include the scale 1/sqrt(F3), and keys (B, F3, *grid).
        """
        queries = self.query(self.query_norm(self.transfer(prototypes))) / math.sqrt(features.shape[1])
        keys = self.key(self.tokens(features)).transpose(1, 2)
        return queries, keys.reshape(features.shape[0], -1, *features.shape[2:])


class LinearAggregation(nn.Module):
    """Aggregate the proximity maps (Eq. 6) without a non-linearity between the two convolutions.

    Two convolutions in a row are one, and a convolution of ``Q_r . keys`` over the R maps is a convolution of the keys
    with the kernel ``sum_r w_r Q_r``: the C * R proximity maps are never formed and the cost does not grow with R.

    Args:
        num_prototypes: Number of prototypes per class, R.
        ndim: Number of spatial dimensions, 2 or 3.
        num_classes: Number of classes, C; used only if the weights are not shared.
        spatial_awareness: Use a 3x3x3 kernel; if False, 1x1x1 (Table 6).
        integration: Learn the mix over the R prototypes; if False, take their mean (Table 6).
        shared_classes: Share one set of weights among all classes; if False, learn one set per class (Table 6).
    """

    def __init__(
        self,
        num_prototypes: int,
        ndim: int,
        num_classes: int,
        spatial_awareness: bool = True,
        integration: bool = True,
        shared_classes: bool = True,
    ) -> None:
        super().__init__()
        kernel = (3 if spatial_awareness else 1,) * ndim
        sets = 1 if shared_classes else num_classes
        self.integration = integration
        weight = torch.empty(sets, num_prototypes if integration else 1, *kernel)
        bound = 1 / math.sqrt(num_prototypes * math.prod(kernel))
        self.weight = nn.Parameter(nn.init.uniform_(weight, -bound, bound))

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Aggregate the proximity maps of each class into one map.

        Args:
            queries: One query per class and prototype, (B, C, R, F).
            keys: One key per voxel, (B, F, *grid).

        Returns:
            Map before upsampling, (B, C, *grid). Gradients reach both inputs.
        """
        _, classes, prototypes, _ = queries.shape
        weight = self.weight.flatten(2)
        if not self.integration:
            weight = weight.expand(-1, prototypes, -1) / prototypes
        kernels = torch.einsum("bcrf,crk->bcfk", queries, weight.expand(classes, -1, -1))
        return _convolve_each(keys, kernels.unflatten(3, self.weight.shape[2:]).to(keys.dtype))


def _convolve_each(images: Tensor, kernels: Tensor) -> Tensor:
    """Convolve every image with its own kernels: (B, F, *grid) and (B, C, F, *kernel) to (B, C, *grid).

    A grouped convolution gives the same result in one call, but is two to four times slower on a CPU.
    """
    batch, classes = kernels.shape[:2]
    if batch * classes <= _VECTOR_WIDTH:
        # Convolving all images with all kernels costs no more than one class does.
        return _convolve_pairs(images, kernels)
    if not _slow_alone(images):
        return torch.cat([_convolve_pairs(i[None], k[None]) for i, k in zip(images, kernels, strict=True)])
    if batch == 1:
        return _convolve_pairs(images.repeat(2, *[1] * (images.ndim - 1)), kernels)[:1]
    groups = batch // 2
    chunks = zip(images.tensor_split(groups), kernels.tensor_split(groups), strict=True)
    return torch.cat([_convolve_pairs(*chunk) for chunk in chunks])


def _convolve_pairs(images: Tensor, kernels: Tensor) -> Tensor:
    """Convolve all images with all kernels and keep the matching pairs; shapes as in :func:`_convolve_each`."""
    batch, classes = kernels.shape[:2]
    padding = [k // 2 for k in kernels.shape[3:]]
    pairs = _CONV[images.ndim - 2](images, kernels.flatten(0, 1), padding=padding)
    return pairs if batch == 1 else pairs.unflatten(1, (batch, classes)).diagonal(0, 0, 1).movedim(-1, 0)


def _slow_alone(images: Tensor) -> bool:
    """Check whether torch would unfold a single one of these images, which is slower than convolving two together."""
    return images.device.type == "cpu" and math.prod(images.shape[1:4]) <= _UNFOLDED


class NonLinearAggregation(nn.Module):
    """Aggregate the proximity maps (Eq. 6) as in the authors' code.

    A depthwise-separable 3x3x3 convolution, norm and ReLU are followed by a 1x1x1 convolution over the R maps. Only the
    maps of a few classes are in memory at a time; they are recomputed in the backward pass.

    Args:
        num_prototypes: Number of prototypes per class, R.
        ndim: Number of spatial dimensions, 2 or 3.
        max_maps: Proximity maps per image to hold in memory at a time; at least those of one class are.
    """

    def __init__(self, num_prototypes: int, ndim: int, max_maps: int = 64) -> None:
        super().__init__()
        conv = nn.Conv3d if ndim == 3 else nn.Conv2d
        norm = nn.InstanceNorm3d if ndim == 3 else nn.InstanceNorm2d
        self.classes_at_once = max(1, max_maps // num_prototypes)
        self.layers = nn.Sequential(
            conv(num_prototypes, num_prototypes, 3, padding=1, groups=num_prototypes, bias=False),
            conv(num_prototypes, num_prototypes, 1, bias=False),
            norm(num_prototypes, affine=True),
            nn.ReLU(),
            conv(num_prototypes, 1, 1, bias=False),
        )

    def _few_classes(self, queries: Tensor, keys: Tensor) -> Tensor:
        batch, classes, prototypes, _ = queries.shape
        maps = torch.einsum("bcrf,bfv->bcrv", queries, keys.flatten(2))
        maps = maps.reshape(batch * classes, prototypes, *keys.shape[2:])
        return self.layers(maps).reshape(batch, classes, *keys.shape[2:])

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Aggregate the proximity maps of each class into one map.

        Args:
            queries: One query per class and prototype, (B, C, R, F).
            keys: One key per voxel, (B, F, *grid).

        Returns:
            Map before upsampling, (B, C, *grid). Gradients reach both inputs.
        """
        chunks = queries.split(self.classes_at_once, dim=1)
        if len(chunks) == 1:
            return self._few_classes(queries, keys)
        # Stopping early would raise an exception, whose frames hold the maps until garbage is collected.
        with set_checkpoint_early_stop(False):
            maps = [checkpoint(self._few_classes, chunk, keys, use_reentrant=False) for chunk in chunks]
        return torch.cat(maps, 1)


class DynamicInteractionModule(nn.Module):
    """Compute the holistic relationship map M(x) from prototypes and features (Eq. 7).

    Args:
        num_classes: Number of classes including background, C.
        num_prototypes: Number of prototypes per class, R.
        channels: Channels (F2, F3) of the features at quarter and half resolution.
        ndim: Number of spatial dimensions, 2 or 3.
        aggregation: ``"linear"`` (cost independent of R) or ``"nonlinear"`` (as in the authors' code).
        spatial_awareness: Option of :class:`LinearAggregation`; no effect with ``"nonlinear"``.
        integration: Option of :class:`LinearAggregation`; no effect with ``"nonlinear"``.
        shared_classes: Option of :class:`LinearAggregation`; no effect with ``"nonlinear"``.
    """

    def __init__(
        self,
        num_classes: int,
        num_prototypes: int,
        channels: tuple[int, int],
        ndim: int = 3,
        aggregation: str = "linear",
        spatial_awareness: bool = True,
        integration: bool = True,
        shared_classes: bool = True,
    ) -> None:
        super().__init__()
        # Zero prototypes would all start with the same map; small random ones differ from the first step.
        self.prototypes = nn.Parameter(0.02 * torch.randn(num_classes, num_prototypes, channels[0]))
        self.block1 = PrototypeAttention(channels[0])
        self.block2 = ProximityMaps(channels[0], channels[1])
        self.aggregation: nn.Module
        if aggregation == "linear":
            self.aggregation = LinearAggregation(
                num_prototypes, ndim, num_classes, spatial_awareness, integration, shared_classes
            )
        else:
            self.aggregation = NonLinearAggregation(num_prototypes, ndim)

    def forward(self, quarter: Tensor, half: Tensor, size: Sequence[int]) -> Tensor:
        """Compute the holistic relationship map, which has the scale of logits.

        Args:
            quarter: Z2, features at quarter resolution, (B, F2, *grid / 4).
            half: Z3, features at half resolution, (B, F3, *grid / 2).
            size: Size of the output grid in voxels.

        Returns:
            Holistic relationship map, (B, C, *size). Gradients reach the prototypes, the module's weights and both
            features.
        """
        classes, prototypes, _ = self.prototypes.shape
        updated = self.block1(self.prototypes.flatten(0, 1), quarter)
        queries, keys = self.block2(updated, half)
        relationship_map = self.aggregation(queries.unflatten(1, (classes, prototypes)), keys)
        return upsample_linear(relationship_map, size)
