"""Schedules that the plans may change: a short one for small machines, and what other protocols build on."""

from typing import Any, ClassVar

import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.rot90 import Rot90Transform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform
from batchgeneratorsv2.transforms.utils.nnunet_masking import MaskImageTransform
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTansform
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler

from nnunetv2_crln.utilities.seeding import derive_seed, seed_everything


class ShortSchedule:
    """Mixin for any nnU-Net trainer: optimiser and lengths that converge within a few thousand iterations.

    nnU-Net's momentum of 0.99 remembers a hundred iterations and needs more than a thousand before it predicts any
    foreground in a small network. With 0.9 and a learning rate of 0.05 every method starts to learn at once, so that
    a comparison of methods is not one of warm-ups.
    """

    momentum = 0.9
    # What the plans' key "short_schedule" may change, with the defaults.
    schedule_defaults: ClassVar[dict[str, Any]] = {
        "num_epochs": 20,
        "num_iterations_per_epoch": 50,
        "num_val_iterations_per_epoch": 2,
        "initial_lr": 0.05,
    }

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008 - nnU-Net's signature
    ):
        super().__init__(plans, configuration, fold, dataset_json, device)  # type: ignore[call-arg]
        # The schedule is a key of the plans, so that one class serves every length.
        planned = self.configuration_manager.configuration.get("short_schedule", {})  # type: ignore[attr-defined]
        for attribute, default in self.schedule_defaults.items():
            setattr(self, attribute, planned.get(attribute, default))
        self.initial_weights_seed = planned.get("seed", 0)

    def initialize(self):
        # Trainers that seed themselves do so again with the same seed: all methods start from the same weights.
        seed_everything(derive_seed(self.initial_weights_seed, "weights", 0))
        super().initialize()

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(
            self.network.parameters(),
            self.initial_lr,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            nesterov=True,
        )
        return optimizer, PolyLRScheduler(optimizer, self.initial_lr, self.num_epochs)


class ArticleProtocol(ShortSchedule):
    """Mixin: SGD with Nesterov momentum 0.9, learning rate 2.5e-3, weight decay 5e-4, 200 epochs of 200 iterations.

    Augmentation of labelled patches and weak views: random crop, rotation by multiples of 90 degrees in the plane of
    the last two axes, flips along them; nothing else. No deep supervision, no mirroring at test time. Patches with
    foreground are drawn as often as in nnU-Net: on whole images random crops alone would hardly meet a pancreas.
    """

    schedule_defaults: ClassVar[dict[str, Any]] = {
        "num_epochs": 200,
        "num_iterations_per_epoch": 200,
        "num_val_iterations_per_epoch": 10,
        "initial_lr": 2.5e-3,
    }

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008 - nnU-Net's signature
    ):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.weight_decay = 5e-4
        self.enable_deep_supervision = False

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self):
        patch_size = self.configuration_manager.patch_size
        self.inference_allowed_mirroring_axes = None
        # Nothing is rotated by odd angles, so that no larger patch has to be cut first.
        return None, False, patch_size, in_plane(patch_size)

    @staticmethod
    def get_training_transforms(
        patch_size,
        rotation_for_DA,
        deep_supervision_scales,
        mirror_axes: tuple[int, ...],
        do_dummy_2d_data_aug: bool,
        use_mask_for_norm: list[bool] | None = None,
        is_cascaded: bool = False,
        foreground_labels=None,
        regions=None,
        ignore_label: int | None = None,
    ) -> BasicTransform:
        axes = in_plane(patch_size)
        transforms: list[BasicTransform] = []
        if len({patch_size[axis] for axis in axes}) == 1:  # other patches do not fit into themselves when turned
            transforms.append(Rot90Transform(1, (0, 1, 2, 3), set(axes)))
        transforms.append(MirrorTransform(allowed_axes=mirror_axes))
        if use_mask_for_norm is not None and any(use_mask_for_norm):
            masked = [channel for channel, use in enumerate(use_mask_for_norm) if use]
            transforms.append(MaskImageTransform(masked, channel_idx_in_seg=0, set_outside_to=0))
        transforms.append(RemoveLabelTansform(-1, 0))
        if deep_supervision_scales is not None:
            transforms.append(DownsampleSegForDSTransform(ds_scales=deep_supervision_scales))
        return ComposeTransforms(transforms)


def in_plane(patch_size) -> tuple[int, int]:
    """The last two axes of a patch, in which scans are usually acquired."""
    return len(patch_size) - 2, len(patch_size) - 1
