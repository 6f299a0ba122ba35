"""A confidence threshold for each class, in the manner of FreeMatch (Wang et al., ICLR 2023)."""

import torch
from torch import Tensor, nn

MEMORY = 0.99
"""Decay of the moving averages: about a hundred steps."""


class ClassThresholds(nn.Module):
    """Lower thresholds for classes that the teacher is less sure of than of the surest one.

    With many classes one threshold lets through the large and easy ones alone. Here it is the threshold of the class
    with the highest mean confidence; another class gets it in the ratio of both means.

    Args:
        num_classes: C.
        threshold: tau, of the surest class.
    """

    confidence: Tensor

    def __init__(self, num_classes: int, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        # Equal at the start: one threshold for all until something is known.
        self.register_buffer("confidence", torch.ones(num_classes))

    def forward(self) -> Tensor:
        """Threshold of each class, (C,)."""
        return self.threshold * self.confidence / self.confidence.max().clamp(min=1e-6)

    @torch.no_grad()
    def update(self, labels: Tensor, confidence: Tensor) -> None:
        """Learn from one batch; classes that it lacks keep their mean.

        Args:
            labels: Pseudo labels, (B, *grid), int64.
            confidence: Confidence of the pseudo labels, (B, *grid).
        """
        num_classes = len(self.confidence)
        voxels = torch.zeros(num_classes, device=labels.device)
        voxels.index_add_(0, labels.flatten(), torch.ones_like(confidence, dtype=torch.float32).flatten())
        summed = torch.zeros_like(voxels).index_add_(0, labels.flatten(), confidence.float().flatten())
        mean = torch.where(voxels > 0, summed / voxels.clamp(min=1), self.confidence)
        self.confidence.lerp_(mean, 1 - MEMORY)
