"""Dynamic Interaction Module: class prototypes meet multi-resolution features (Sec. 3.2.1, Eq. 3-7)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from nnunetv2_crln.modules.upsampling import upsample_linear

# Output channels that a dense convolution computes together; fewer cost the same.
_VECTOR_WIDTH = 16
_CONV = {2: F.conv2d, 3: F.conv3d}


class Tokens(nn.Module):
    """Features as tokens: 1x1x1 convolution, then LayerNorm over channels; (B, C_in, ...) to (B, voxels, C_out)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.pointwise = nn.Linear(in_channels, out_channels)
        self.norm = nn.LayerNorm(out_channels)

    def forward(self, features: Tensor) -> Tensor:
        return self.norm(self.pointwise(features.flatten(2).transpose(1, 2)))


class PrototypeAttention(nn.Module):
    """Cross-attention block I: prototypes absorb the features of one image (Eq. 3-4).

    ``A = Q K^T / sqrt(F)``, ``P' = P + proj(softmax_voxels(A) V)``, ``P'' = P' + MLP(LN(P'))``.
    Groups of prototypes do not attend to each other, so all C * R queries run as one batch.
    """

    def __init__(self, channels: int, mlp_ratio: int = 4) -> None:
        super().__init__()
        self.tokens = Tokens(channels, channels)
        self.query_norm = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.projection = nn.Linear(channels, channels)
        self.mlp = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, mlp_ratio * channels),
            nn.GELU(),
            nn.Linear(mlp_ratio * channels, channels),
        )

    def forward(self, prototypes: Tensor, features: Tensor) -> Tensor:
        """Prototypes (C*R, F) and features (B, F, ...) to image-specific prototypes (B, C*R, F)."""
        tokens = self.tokens(features)
        query = self.query(self.query_norm(prototypes)).expand(features.shape[0], -1, -1)
        attended = F.scaled_dot_product_attention(query, self.key(tokens), self.value(tokens))
        updated = prototypes + self.projection(attended)
        return updated + self.mlp(updated)


class ProximityMaps(nn.Module):
    """Block II up to its proximity maps: queries and keys of ``A = Q K^T / sqrt(F)`` on Z3 (Eq. 5).

    Block II's value path would only change prototypes that nothing reads afterwards, so it does not exist here.
    """

    def __init__(self, prototype_channels: int, channels: int) -> None:
        super().__init__()
        self.transfer = nn.Linear(prototype_channels, channels)
        self.query_norm = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels)
        self.tokens = Tokens(channels, channels)
        self.key = nn.Linear(channels, channels)

    def forward(self, prototypes: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Prototypes (B, C*R, F2) and features (B, F3, *grid) to queries (B, C*R, F3), keys (B, F3, *grid).

        The inner product of the two is the proximity map; the scale 1/sqrt(F3) is in the queries.
        """
        queries = self.query(self.query_norm(self.transfer(prototypes))) / math.sqrt(features.shape[1])
        keys = self.key(self.tokens(features)).transpose(1, 2)
        return queries, keys.reshape(features.shape[0], -1, *features.shape[2:])


class LinearAggregation(nn.Module):
    """Aggregation of Eq. 6 without a non-linearity between its two convolutions.

    Two convolutions in a row are one, and a convolution of ``Q_r . keys`` over the R maps is a convolution of the keys
    with the kernel ``sum_r w_r Q_r``: the C * R proximity maps are never formed and the cost does not grow with R.

    Args:
        num_prototypes: R.
        ndim: Spatial dimensions, 2 or 3.
        num_classes: C; used where the weights are not shared.
        spatial_awareness: 3x3x3 kernel; False: 1x1x1 (Table 6).
        integration: Learned mix over the R prototypes; False: their mean (Table 6).
        shared_classes: One set of weights for all classes; False: one for each (Table 6).
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
        """Queries (B, C, R, F) and keys (B, F, *grid) to the map (B, C, *grid)."""
        _, classes, prototypes, _ = queries.shape
        weight = self.weight.flatten(2)
        if not self.integration:
            weight = weight.expand(-1, prototypes, -1) / prototypes
        kernels = torch.einsum("bcrf,crk->bcfk", queries, weight.expand(classes, -1, -1))
        return _convolve_each(keys, kernels.unflatten(3, self.weight.shape[2:]).to(keys.dtype))


def _convolve_each(images: Tensor, kernels: Tensor) -> Tensor:
    """Convolve every image with its own kernels: (B, F, *grid) and (B, C, F, *kernel) to (B, C, *grid).

    A grouped convolution says the same in one call and is two to four times slower on a CPU.
    """
    batch, classes = kernels.shape[:2]
    conv, padding = _CONV[images.ndim - 2], [k // 2 for k in kernels.shape[3:]]
    if batch * classes <= _VECTOR_WIDTH:
        # All images with all kernels at once costs no more than one class does, and only the matching pairs are kept.
        pairs = conv(images, kernels.flatten(0, 1), padding=padding).unflatten(1, (batch, classes))
        return pairs.diagonal(0, 0, 1).movedim(-1, 0)
    return torch.cat([conv(i[None], k, padding=padding) for i, k in zip(images, kernels, strict=True)])


class NonLinearAggregation(nn.Module):
    """Aggregation of Eq. 6 as published in code: depthwise-separable 3x3x3, norm, ReLU, then 1x1x1 over R.

    The proximity maps of a few classes at a time exist in memory; they are recomputed in the backward pass.
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
        """Queries (B, C, R, F) and keys (B, F, *grid) to the map (B, C, *grid)."""
        chunks = queries.split(self.classes_at_once, dim=1)
        if len(chunks) == 1:
            return self._few_classes(queries, keys)
        return torch.cat([checkpoint(self._few_classes, chunk, keys, use_reentrant=False) for chunk in chunks], 1)


class DynamicInteractionModule(nn.Module):
    """Prototypes and features to the holistic relationship map M(x), Eq. 7.

    Args:
        num_classes: C, background included.
        num_prototypes: R prototypes per class.
        channels: (F2, F3) of the features at quarter and half resolution.
        ndim: Spatial dimensions, 2 or 3.
        aggregation: ``"linear"`` (cost independent of R) or ``"nonlinear"`` (as the authors published).
        spatial_awareness: See :class:`LinearAggregation`; also the two below. They need ``"linear"``.
        integration: As above.
        shared_classes: As above.
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
        """Holistic relationship map, a logit map.

        Args:
            quarter: Z2, (B, F2, *grid / 4).
            half: Z3, (B, F3, *grid / 2).
            size: Voxels of the output grid.

        Returns:
            (B, C, *size). Gradients reach the prototypes, the module and both features.
        """
        classes, prototypes, _ = self.prototypes.shape
        updated = self.block1(self.prototypes.flatten(0, 1), quarter)
        queries, keys = self.block2(updated, half)
        relationship_map = self.aggregation(queries.unflatten(1, (classes, prototypes)), keys)
        return upsample_linear(relationship_map, size)
