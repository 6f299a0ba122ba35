"""Batches with a labelled and an unlabelled part, made by nnU-Net's own loaders in its own worker processes."""

import traceback
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.nnunet_masking import MaskImageTransform
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.dataloading.unlabelled_dataset import UnlabelledDataset
from nnunetv2_crln.training.dataloading.views import StrongGeometry, strong_intensity_transforms, weak_transforms
from nnunetv2_crln.utilities.parallel import end_with_parent
from nnunetv2_crln.utilities.seeding import derive_seed, seed_everything


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


@dataclass(frozen=True)
class WorkerFailure:
    """Travels to the training in place of a batch.

    Attributes:
        text: The worker's traceback.
    """

    text: str


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
        num_workers: W, or 0 for the main process alone.
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
        self.in_worker = False

    def set_thread_id(self, thread_id: int) -> None:
        """Called by batchgenerators in each worker."""
        self.next_step += thread_id
        self.in_worker = True
        end_with_parent()
        # A forked worker inherits the parent's OpenMP state without its threads: a parallel region would wait forever.
        torch.set_num_threads(1)

    def __iter__(self) -> Iterator[dict | WorkerFailure]:
        return self

    def __next__(self) -> dict | WorkerFailure:
        if not self.in_worker:
            return self._batch()
        try:
            return share_memory(self._batch())
        except Exception:
            return WorkerFailure(traceback.format_exc())

    def seed_of(self, step: int) -> int:
        """Where the random numbers of one step start."""
        return derive_seed(self.seed, self.stream, step, self.rank)

    def _batch(self) -> dict:
        step = self.next_step
        seed = self.seed_of(step)
        self.next_step += max(1, self.num_workers)
        seed_everything(seed)
        batch = next(self.labelled)
        if self.unlabelled is not None:
            batch.update(self.unlabelled.draw(np.random.default_rng(seed)))
        return {**batch, "step": step}


def share_memory(batch: dict) -> dict:
    """Move all tensors of a batch to shared memory, in place.

    The queue would do so in a thread of its own, which drops the batch if shared memory is full and goes on.
    """
    for value in batch.values():
        for tensor in value if isinstance(value, list) else [value]:
            if isinstance(tensor, torch.Tensor):
                tensor.share_memory_()
    return batch
