"""Loss for the consistency between student and pseudo labels (Eq. 1-2)."""

from torch import Tensor
from torch.nn import functional as F


def consistency_loss(logits: Tensor, pseudo_labels: Tensor, weight: Tensor) -> Tensor:
    """Compute the negative log-likelihood of the pseudo labels at the confident voxels (Eq. 2).

    Args:
        logits: Student's output for the strong view, before softmax, (B, C, *grid).
        pseudo_labels: Class indices, (B, *grid), int64.
        weight: Weight of each voxel, (B, *grid): the trust in its label, in [0, 1], where the (rectified) teacher is
            confident; 0 elsewhere.

    Returns:
        Scalar: the weighted sum divided by the number of all voxels, as the mean over the lattice in Eq. 2. Zero, with
        a gradient of zeros, if no voxel has a weight. Gradients reach ``logits`` alone.
    """
    return (F.cross_entropy(logits, pseudo_labels, reduction="none") * weight).mean()
