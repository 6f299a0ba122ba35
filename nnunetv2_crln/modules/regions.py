"""Treat regions as binary problems: each has two classes, outside and inside, and a voxel may be in several regions.

nnU-Net predicts one logit z per region, which a sigmoid turns into a probability. The softmax over the logits (0, z) of
the classes outside and inside is the same probability. So everything that is defined for classes applies to regions.
"""

import torch
from torch import Tensor

from nnunetv2_crln.modules.rectification import Rectification


def as_two_classes(logits: Tensor) -> Tensor:
    """Turn the logit of each region into the logits of its two classes.

    Args:
        logits: One logit per region, (B, K, *grid).

    Returns:
        Logits of outside and inside, (B * K, 2, *grid), with the regions of a sample in a row.
    """
    inside = logits.flatten(0, 1)
    return torch.stack([torch.zeros_like(inside), inside], 1)


def as_regions(two_classes: Tensor, num_regions: int) -> Tensor:
    """Turn the logits of two classes per region back into one logit per region.

    Args:
        two_classes: Logits of outside and inside, (B * K, 2, *grid).
        num_regions: Number of regions, K.

    Returns:
        One logit per region, (B, K, *grid), with the same probabilities.
    """
    return (two_classes[:, 1] - two_classes[:, 0]).unflatten(0, (-1, num_regions))


class RegionRectification(Rectification):
    """Rectify each region as a problem of two classes.

    Args:
        rectifier: Rectification for two classes; all regions share its parameters.
    """

    def __init__(self, rectifier: Rectification) -> None:
        super().__init__()
        self.rectifier = rectifier
        self.decides_by_probability = rectifier.decides_by_probability

    def forward(self, logits: Tensor, relationship_map: Tensor) -> Tensor:
        """Rectify the logits of regions.

        Args:
            logits: One logit per region, (B, K, *grid).
            relationship_map: Map of the regions, (B, K, *grid).

        Returns:
            Rectified logits, (B, K, *grid).
        """
        two_classes = self.rectifier(as_two_classes(logits), as_two_classes(relationship_map))
        return as_regions(two_classes, logits.shape[1])

    def trust(self, logits: Tensor, relationship_map: Tensor) -> Tensor | None:
        """Weight the pseudo label of each voxel and region; see ``AgreementRectification``.

        Args:
            logits: One logit per region, (B, K, *grid).
            relationship_map: Map of the regions, (B, K, *grid).

        Returns:
            Weights, (B, K, *grid); None for 1 everywhere.
        """
        weights = self.rectifier.trust(as_two_classes(logits), as_two_classes(relationship_map))
        return None if weights is None else weights.unflatten(0, logits.shape[:2])

    def correction_parameter(self) -> Tensor | None:
        """Return mu of Eq. 8, a scalar tensor; None if the rectification has none."""
        return self.rectifier.correction_parameter()

    def project(self) -> None:
        """Project the parameters back into their range."""
        self.rectifier.project()
