"""Freeze the layers of a network that a training without deep supervision never uses."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from torch import nn


@contextlib.contextmanager
def freezing_unused_layers(trainer: Any) -> Iterator[None]:
    """Let a trainer without deep supervision freeze the unused layers of the network that it builds.

    nnU-Net's networks have a segmentation layer at every resolution even then, and DistributedDataParallel, into which
    nnU-Net puts the network at once, refuses parameters without a gradient in the second step. Checkpoints stay the
    same: whether a parameter is trained is no part of them.

    Args:
        trainer: nnU-Net's trainer, which builds its network in the ``with`` block, by whatever method it has for it.

    Yields:
        Nothing.
    """
    build = trainer.build_network_architecture

    @functools.wraps(build)  # nnU-Net looks at the arguments it takes
    def build_and_freeze(*arguments: Any, **options: Any) -> nn.Module:
        network = build(*arguments, **options)
        if not trainer.enable_deep_supervision:
            freeze_lower_segmentations(network)
        return network

    trainer.build_network_architecture = build_and_freeze
    try:
        yield
    finally:
        del trainer.build_network_architecture


def freeze_lower_segmentations(network: nn.Module) -> None:
    """Freeze the segmentation layers below full resolution, where the network has them as nnU-Net's do."""
    layers = getattr(getattr(network, "decoder", None), "seg_layers", None)
    if isinstance(layers, nn.ModuleList):
        layers[:-1].requires_grad_(False)
