"""Adapt the confidence threshold to each class, in the manner of FreeMatch (Wang et al., ICLR 2023)."""

import torch
from torch import Tensor, nn

from nnunetv2_crln.utilities.processes import sum_over_processes

MEMORY = 0.99
"""Decay of the moving averages: about a hundred steps."""


class ClassThresholds(nn.Module):
    """Lower the threshold for classes that the teacher predicts with less confidence.

    With many classes, one threshold would only accept the large and easy classes. Here it applies to the class with the
    highest mean confidence; that of another class is lower by the ratio of both means.

    Args:
        num_classes: Number of classes including background, C.
        threshold: Confidence threshold tau of the most confident class.
    """

    confidence: Tensor

    def __init__(self, num_classes: int, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        # Equal at the start: one threshold for all classes until their confidences are known.
        self.register_buffer("confidence", torch.ones(num_classes))

    def forward(self) -> Tensor:
        """Return the threshold of each class, (C,)."""
        return self.threshold * self.confidence / self.confidence.max().clamp(min=1e-6)

    @torch.no_grad()
    def update(self, labels: Tensor, confidence: Tensor) -> None:
        """Update the mean confidences with one batch; classes that it lacks keep theirs.

        Args:
            labels: Pseudo labels, (B, *grid), int64.
            confidence: Confidence of the pseudo labels, (B, *grid).
        """
        # Row by row first: one sum over millions of voxels would lose most of what is added to it.
        rows = labels.reshape(-1, labels.shape[-1])
        by_row = torch.zeros(len(rows), len(self.confidence), device=labels.device)
        trust = confidence.float().reshape(rows.shape)
        voxels = by_row.scatter_add(1, rows, torch.ones_like(trust)).sum(0)
        summed = by_row.scatter_add(1, rows, trust).sum(0)
        # All processes must apply the same thresholds, and checkpoints hold those of the first.
        voxels, summed = sum_over_processes(torch.stack([voxels, summed]))
        known = (voxels > 0) & torch.isfinite(summed)  # one NaN would stay in the average for good
        mean = torch.where(known, summed / voxels.clamp(min=1), self.confidence)
        self.confidence.lerp_(mean, 1 - MEMORY)
