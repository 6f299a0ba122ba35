"""Evaluate losses of large class maps without keeping more than the maps for the backward pass."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

LARGE = 1 << 23
"""Elements of the class maps of one patch (32 MiB in float32) from which memory matters more than time."""


def recomputed_if_large(loss: Callable[..., Tensor], maps: Tensor, *arguments: Tensor | float) -> Tensor:
    """Evaluate a loss; with large maps, compute its softmaxes and products again in the backward pass.

    A loss of C classes keeps several float32 tensors of C x voxels until its backward pass. With several losses in a
    step they are alive together, which with many classes costs more memory than the network.

    Args:
        loss: Loss, called with the maps in single precision and the arguments; it must not draw random numbers.
        maps: Logits, (B, C, *grid), in any precision.
        *arguments: Further arguments of the loss.

    Returns:
        The loss, a scalar; value and gradients are those of ``loss(maps.float(), *arguments)``.
    """

    def in_single_precision(maps: Tensor, *arguments: Tensor | float) -> Tensor:
        return loss(maps.to(torch.promote_types(maps.dtype, torch.float32)), *arguments)

    # The size of one patch decides: processes may hold different numbers of patches, but must take the same branch,
    # because a loss may gather.
    if maps[0].numel() < LARGE or not torch.is_grad_enabled():
        return in_single_precision(maps, *arguments)
    # Stopping early would raise an exception, whose frames hold the loss's large tensors until garbage is collected.
    with set_checkpoint_early_stop(False):
        return checkpoint(in_single_precision, maps, *arguments, use_reentrant=False, preserve_rng_state=False)


def probability_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the softmax probability of one class at each voxel, one sample after the other.

    The probabilities of all classes exist for one sample at a time.

    Args:
        logits: Before softmax, (B, C, *grid), in any precision.
        labels: Class of each voxel, (B, *grid), int64.

    Returns:
        Probabilities, (B, *grid), float32.
    """
    samples = [
        torch.softmax(sample, 0, dtype=torch.float32).gather(0, label[None])[0]
        for sample, label in zip(logits, labels, strict=True)
    ]
    return torch.stack(samples)
