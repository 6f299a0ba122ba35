"""Change the optimiser and the length of a training: a short schedule and the paper's protocol."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.rot90 import Rot90Transform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform
from batchgeneratorsv2.transforms.utils.nnunet_masking import MaskImageTransform
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTansform
from batchgeneratorsv2.transforms.utils.seg_to_regions import ConvertSegmentationToRegionsTransform
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler

from nnunetv2_crln.preprocessed_dataset.own_blocks import short_schedule_of
from nnunetv2_crln.training.derived_trainers import refuse_lost_methods_of_schedules
from nnunetv2_crln.utilities.seeding import derive_seed, seed_everything


class ShortSchedule:
    """Mixin for any nnU-Net trainer: an optimiser and a length that converge within a few thousand iterations.

    With nnU-Net's momentum of 0.99 a small network needs more than a thousand iterations before it predicts any
    foreground. With 0.9 and a learning rate of 0.05 every method starts to learn at once, so that comparing methods
    does not mean comparing warm-ups. The constructor is nnU-Net's.
    """

    momentum = 0.9
    # Attributes that the plans' key "short_schedule" may change, with their defaults.
    schedule_defaults: ClassVar[dict[str, Any]] = {
        "num_epochs": 20,
        "num_iterations_per_epoch": 50,
        "num_val_iterations_per_epoch": 2,
        "initial_lr": 0.05,
    }
    # Attributes that the plans do not change. A trainer's training_attributes replace both kinds.
    schedule_attributes: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008 - nnU-Net's signature
    ):
        refuse_lost_methods_of_schedules(type(self))
        super().__init__(plans, configuration, fold, dataset_json, device)  # type: ignore[call-arg]
        # The plans set the schedule, so that one class serves every length.
        planned = short_schedule_of(self.configuration_manager.configuration)  # type: ignore[attr-defined]
        attributes = {**self.schedule_defaults, **self.schedule_attributes, **getattr(self, "training_attributes", {})}
        attributes |= {name: planned[name] for name in self.schedule_defaults if name in planned}
        for name, value in attributes.items():
            setattr(self, name, value)
        self.initial_weights_seed = planned.get("seed", 0)

    def initialize(self: Any) -> None:
        """Build the network from a fixed seed, so that all methods start from the same weights."""
        # Trainers that seed themselves take initial_weights_seed, too.
        seed_everything(derive_seed(self.initial_weights_seed, "weights", 0))
        super().initialize()  # type: ignore[misc]

    def configure_optimizers(self: Any) -> tuple[torch.optim.Optimizer, Any]:
        """Return stochastic gradient descent (SGD) with the mixin's momentum, and nnU-Net's learning rate schedule."""
        optimizer = torch.optim.SGD(
            self.network.parameters(),
            self.initial_lr,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            nesterov=True,
        )
        return optimizer, PolyLRScheduler(optimizer, self.initial_lr, self.num_epochs)


class ArticleProtocol(ShortSchedule):
    """Mixin for the paper's protocol: optimiser, length and augmentation. The constructor is nnU-Net's.

    The optimiser is stochastic gradient descent with Nesterov momentum 0.9, learning rate 2.5e-3 and weight decay 5e-4,
    for 200 epochs of 200 iterations. Labelled patches and weak views are cropped randomly, rotated by multiples of 90
    degrees in the plane of the last two axes and flipped along them; nothing else. There is neither deep supervision
    nor mirroring at test time. Patches with foreground are drawn as often as in nnU-Net, because random crops of whole
    images would rarely contain a pancreas.
    """

    schedule_defaults: ClassVar[dict[str, Any]] = {
        "num_epochs": 200,
        "num_iterations_per_epoch": 200,
        "num_val_iterations_per_epoch": 10,
        "initial_lr": 2.5e-3,
    }
    schedule_attributes: ClassVar[dict[str, Any]] = {"weight_decay": 5e-4, "enable_deep_supervision": False}

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self: Any) -> tuple:
        """Return nnU-Net's four values: no rotation, no 2D augmentation, the patch size itself, in-plane mirroring."""
        patch_size = self.configuration_manager.patch_size
        self.inference_allowed_mirroring_axes = None
        # Rotations by 90 degrees do not need a larger patch to be cropped first.
        return None, False, patch_size, in_plane(patch_size)

    @staticmethod
    def get_training_transforms(
        patch_size: Sequence[int],
        rotation_for_DA: Any,
        deep_supervision_scales: Sequence | None,
        mirror_axes: tuple[int, ...],
        do_dummy_2d_data_aug: bool,
        use_mask_for_norm: list[bool] | None = None,
        is_cascaded: bool = False,
        foreground_labels: Sequence | None = None,
        regions: Sequence | None = None,
        ignore_label: int | None = None,
    ) -> BasicTransform:
        """Build the paper's augmentation; the arguments are those of nnU-Net's hook.

        Args:
            patch_size: Patch size in voxels.
            rotation_for_DA: Not used.
            deep_supervision_scales: Scales of the targets for deep supervision, or None.
            mirror_axes: Axes to flip.
            do_dummy_2d_data_aug: Not used.
            use_mask_for_norm: For each channel, True to set voxels outside the nonzero region to 0.
            is_cascaded: Not used.
            foreground_labels: Not used.
            regions: Labels of each region, if the targets are regions.
            ignore_label: Value of voxels without a label; with regions it has a channel of its own.

        Returns:
            Transforms of image and label.
        """
        axes = in_plane(patch_size)
        transforms: list[BasicTransform] = []
        if len({patch_size[axis] for axis in axes}) == 1:  # only square patches keep their shape when rotated
            transforms.append(Rot90Transform(1, (0, 1, 2, 3), set(axes)))
        transforms.append(MirrorTransform(allowed_axes=mirror_axes))
        if use_mask_for_norm is not None and any(use_mask_for_norm):
            masked = [channel for channel, use in enumerate(use_mask_for_norm) if use]
            transforms.append(MaskImageTransform(masked, channel_idx_in_seg=0, set_outside_to=0))
        transforms.append(RemoveLabelTansform(-1, 0))
        if regions is not None:
            channels = [*regions, ignore_label] if ignore_label is not None else regions
            transforms.append(ConvertSegmentationToRegionsTransform(regions=channels, channel_in_seg=0))
        if deep_supervision_scales is not None:
            transforms.append(DownsampleSegForDSTransform(ds_scales=deep_supervision_scales))
        return ComposeTransforms(transforms)


def in_plane(patch_size: Sequence[int]) -> tuple[int, int]:
    """Return the last two axes of a patch, the plane in which scans are usually acquired."""
    return len(patch_size) - 2, len(patch_size) - 1
