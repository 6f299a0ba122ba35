"""Batches with a labelled and an unlabelled part, made by nnU-Net's own loaders in its own worker processes."""

from collections.abc import Iterator

import numpy as np
import torch
from batchgenerators.dataloading.multi_threaded_augmenter import MultiThreadedAugmenter
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.nnunet_masking import MaskImageTransform
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA

from nnunetv2_crln.training.seeding import derive_seed, seed_everything
from nnunetv2_crln.training.settings import CRLNSettings
from nnunetv2_crln.unlabelled.views import StrongGeometry, strong_intensity_transforms, weak_transforms


class UnlabelledDataset(nnUNetDatasetBlosc2):
    """Preprocessed unlabelled cases. Their "segmentation" is nnU-Net's non-zero mask, never a label."""

    def load_case(self, identifier: str):
        data, mask, previous, properties = super().load_case(identifier)
        # nnU-Net's loader looks the key up even where it does not oversample foreground.
        return data, mask, previous, {**properties, "class_locations": {}}


class UnlabelledBatches:
    """Weak and strong views of random unlabelled patches.

    Args:
        labelled: Loader of the labelled patches; patch sizes and geometric augmentation are taken from it.
        dataset: Unlabelled cases.
        batch_size: Unlabelled patches in a batch.
        label_manager: nnU-Net's, as for the labelled loader.
        settings: CutMix and flips.
    """

    def __init__(
        self,
        labelled: nnUNetDataLoader,
        dataset: UnlabelledDataset,
        batch_size: int,
        label_manager,
        settings: CRLNSettings,
    ) -> None:
        spatial = slice(1, None) if labelled.patch_size_was_2d else slice(None)
        self.loader = nnUNetDataLoader(
            dataset,
            batch_size,
            tuple(labelled.patch_size)[spatial],
            tuple(labelled.final_patch_size)[spatial],
            label_manager,
            oversample_foreground_percent=0.0,
            transforms=weak_transforms(labelled.transforms),
        )
        # An ignore label makes nnU-Net sample annotated places; there are none here.
        self.loader.has_ignore = False
        self.intensity = strong_intensity_transforms(labelled.transforms, settings.strong_intensity)
        # Where the plans mask images, nnU-Net does so after its intensity changes: no noise outside of the mask.
        self.masking = ComposeTransforms(
            [t for t in self.loader.transforms.transforms if isinstance(t, MaskImageTransform)]
        )
        mirror = [t for t in labelled.transforms.transforms if isinstance(t, MirrorTransform)]
        self.flip_axes = tuple(mirror[0].allowed_axes) if mirror and settings.strong_flip else ()
        self.settings = settings

    def draw(self, rng: np.random.Generator) -> dict:
        """One batch: ``unlabelled_weak``, ``unlabelled_strong`` (B, C, *patch), ``boxes`` and ``flips``."""
        batch = next(self.loader)
        weak, mask = batch["data"], batch["target"]
        strong = weak.clone()
        for sample in range(len(strong)):
            changed = self.intensity(image=strong[sample])["image"]
            strong[sample] = self.masking(image=changed, segmentation=mask[sample])["image"]
        geometry = StrongGeometry.draw(
            len(weak),
            tuple(weak.shape[2:]),
            self.settings.cutmix_alpha,
            self.settings.cutmix_probability,
            self.flip_axes,
            rng,
        )
        return {
            "unlabelled_weak": weak,
            "unlabelled_strong": geometry.apply(strong),
            "boxes": geometry.boxes,
            "flips": geometry.flips,
        }


class SeededBatches:
    """Batches whose content depends on seed, stream and step alone, not on the worker that makes them.

    batchgenerators' MultiThreadedAugmenter copies this object into W workers, tells each its number, and takes their
    batches in turns: the k-th batch of worker w is step ``first_step + k * W + w``.

    Args:
        labelled: nnU-Net's loader.
        unlabelled: Or None for labelled batches alone (validation).
        seed: Of the training.
        stream: Name that separates this stream's random numbers from others'.
        first_step: Step of the first batch; the current one when a training is resumed.
        num_workers: W, 1 in the main process.
        rank: Of this process in distributed training.
    """

    def __init__(
        self,
        labelled: nnUNetDataLoader,
        unlabelled: UnlabelledBatches | None,
        seed: int,
        stream: str,
        first_step: int,
        num_workers: int,
        rank: int = 0,
    ) -> None:
        self.labelled = labelled
        self.unlabelled = unlabelled
        self.seed = seed
        self.stream = stream
        self.rank = rank
        self.next_step = first_step
        self.num_workers = num_workers

    def set_thread_id(self, thread_id: int) -> None:
        """Called by batchgenerators in each worker."""
        self.next_step += thread_id
        # A forked worker inherits the parent's OpenMP state without its threads: a parallel region would wait forever.
        torch.set_num_threads(1)

    def __iter__(self) -> Iterator[dict]:
        return self

    def __next__(self) -> dict:
        seed = derive_seed(self.seed, self.stream, self.next_step, self.rank)
        self.next_step += self.num_workers
        seed_everything(seed)
        batch = next(self.labelled)
        if self.unlabelled is not None:
            batch.update(self.unlabelled.draw(np.random.default_rng(seed)))
        return batch


def in_workers(
    labelled: nnUNetDataLoader,
    unlabelled: UnlabelledBatches | None,
    seed: int,
    stream: str,
    first_step: int,
    num_workers: int,
    rank: int,
    pin_memory: bool,
) -> MultiThreadedAugmenter | SingleThreadedAugmenter:
    """Run :class:`SeededBatches` in ``num_workers`` processes, or in this one if that is 0."""
    batches = SeededBatches(labelled, unlabelled, seed, stream, first_step, max(1, num_workers), rank)
    if num_workers == 0:
        return SingleThreadedAugmenter(batches, None)
    return MultiThreadedAugmenter(
        batches,
        None,
        num_processes=num_workers,
        num_cached_per_queue=2,
        pin_memory=pin_memory,
        wait_time=0.002,
    )


def num_workers(for_validation: bool = False) -> int:
    """Workers that nnU-Net would use here (``nnUNet_n_proc_DA``); half of them for validation."""
    allowed = get_allowed_n_proc_DA()
    return max(1, allowed // 2) if for_validation and allowed else allowed
