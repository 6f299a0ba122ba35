"""Batches with a labelled and an unlabelled part, made by nnU-Net's own loaders in its own worker processes."""

import queue
import traceback
from collections.abc import Iterator
from dataclasses import dataclass

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
from nnunetv2_crln.unlabelled.parallel import end_with_parent
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


class WatchedWorkers(MultiThreadedAugmenter):
    """Workers whose end ends the training, with their traceback, and that lose no batch.

    batchgenerators' own class waits forever if a worker is killed while its batch is on the way.

    Args:
        batches: What each worker makes; without end.
        num_workers: Number of processes.
        pin_memory: For a GPU.
    """

    patience_s = 2.0
    """Without a batch for so long, look after the workers."""

    def __init__(self, batches: SeededBatches, num_workers: int, pin_memory: bool) -> None:
        super().__init__(
            batches,
            None,
            num_processes=num_workers,
            num_cached_per_queue=2,
            pin_memory=pin_memory,
            wait_time=0.002,
        )
        self._next_step = batches.next_step

    def __next__(self) -> dict:
        """The next batch.

        Raises:
            RuntimeError: A worker failed or died; a batch was lost.
        """
        if not self.was_initialized:
            self._start()
        while True:
            try:
                batch = self.pin_memory_queue.get(timeout=self.patience_s)
            except queue.Empty:
                self._check_workers()
                continue
            if isinstance(batch, WorkerFailure):
                self._fail(f"A loader worker failed:\n{batch.text}")
            if batch["step"] != self._next_step:
                self._fail(f"The batch of step {self._next_step} was lost on its way; the next was {batch['step']}.")
            self._next_step += 1
            return batch

    def _check_workers(self) -> None:
        ended = [process for process in self._processes if not process.is_alive()]
        if ended or self.abort_event.is_set() or not self.pin_memory_thread.is_alive():
            codes = ", ".join(str(process.exitcode) for process in ended) or "none"
            self._fail(
                f"Loader workers ended (exit codes: {codes}; a negative one is the signal that killed it, -9 "
                "mostly for lack of memory). Free memory or use fewer workers (nnUNet_n_proc_DA), then continue "
                "with --c."
            )

    def _fail(self, message: str) -> None:
        self._finish(timeout=2, force=True)
        raise RuntimeError(message)


def in_workers(batches: SeededBatches, pin_memory: bool) -> MultiThreadedAugmenter | SingleThreadedAugmenter:
    """Make the batches in their number of worker processes, or in this one if that is 0."""
    if batches.num_workers == 0:
        return SingleThreadedAugmenter(batches, None)
    return WatchedWorkers(batches, batches.num_workers, pin_memory)


def num_workers(for_validation: bool = False) -> int:
    """Workers that nnU-Net would use here (``nnUNet_n_proc_DA``); half of them for validation."""
    allowed = get_allowed_n_proc_DA()
    return max(1, allowed // 2) if for_validation and allowed else allowed
