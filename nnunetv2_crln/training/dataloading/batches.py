"""Make batches with a labelled and an unlabelled part, by nnU-Net's own loaders in its own worker processes."""

import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.nnunet_masking import MaskImageTransform
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.dataloading.damaged import naming_damaged_cases
from nnunetv2_crln.training.dataloading.histogram_matching import HistogramMatching
from nnunetv2_crln.training.dataloading.joined_cases import JoinedCases
from nnunetv2_crln.training.dataloading.refreshed_cases import RefreshedCases, known_background
from nnunetv2_crln.training.dataloading.unlabelled_dataset import UnlabelledDataset
from nnunetv2_crln.training.dataloading.views import (
    mirror_axes,
    require_cut,
    strong_intensity_transforms,
    weak_transforms,
)
from nnunetv2_crln.training.method.strong_geometry import StrongGeometry
from nnunetv2_crln.training.partly_annotated import PartlyAnnotated
from nnunetv2_crln.training.whole_volume_refresh.schedule import RefreshInForce
from nnunetv2_crln.utilities.parallel import end_with_parent
from nnunetv2_crln.utilities.seeding import derive_seed, seed_everything


class UnlabelledBatches:
    """Draw weak and strong views of random unlabelled patches.

    Args:
        labelled: Loader of the labelled patches, which provides patch sizes and geometric augmentation.
        dataset: Unlabelled cases, joined by the labelled ones whose ignored voxels take part.
        batch_size: Number of unlabelled patches per batch.
        label_manager: Label manager of nnU-Net, as for the labelled loader.
        settings: Hyper-parameters; CutMix, flips and intensity changes are used.
        refresh: Whole-volume refresh in force at a step; None without refreshes.
        matching: Histogram matching of the strong views; None without.
    """

    def __init__(
        self,
        labelled: nnUNetDataLoader,
        dataset: UnlabelledDataset | RefreshedCases | JoinedCases,
        batch_size: int,
        label_manager: LabelManager,
        settings: CRLNSettings,
        refresh: RefreshInForce | None = None,
        matching: HistogramMatching | None = None,
    ) -> None:
        spatial = slice(1, None) if labelled.patch_size_was_2d else slice(None)
        drawn, size = tuple(labelled.patch_size)[spatial], tuple(labelled.final_patch_size)[spatial]
        weak = weak_transforms(labelled.transforms)
        require_cut(weak, drawn, size)
        self.loader = nnUNetDataLoader(
            dataset,
            batch_size,
            drawn,
            size,
            label_manager,
            oversample_foreground_percent=0.0,
            transforms=weak,
        )
        # With an ignore label nnU-Net samples annotated places; unlabelled cases have none.
        self.loader.has_ignore = False
        self.intensity = strong_intensity_transforms(labelled.transforms, settings.strong_intensity)
        # If the plans mask images, mask after the intensity changes as nnU-Net does: no noise outside the mask.
        self.masking = ComposeTransforms(
            [t for t in self.loader.transforms.transforms if isinstance(t, MaskImageTransform)]
        )
        self.flip_axes = mirror_axes(labelled.transforms) if settings.strong_flip else ()
        self.settings = settings
        self.joined = dataset if isinstance(dataset, JoinedCases) else None
        self.refresh = refresh
        self.matching = matching
        self.foreground_share = labelled.oversample_foreground_percent

    def go_to(self, step: int, may_wait: bool) -> None:
        """Use the whole-volume refresh that is in force at a step, if there are refreshes.

        Args:
            step: Step of the next batch.
            may_wait: Wait for a refresh that another process is making; the one that makes it must not.
        """
        if self.refresh is not None:
            self.refresh.at(step, may_wait)

    def draw(self, rng: np.random.Generator, labelled: torch.Tensor) -> dict:
        """Draw one batch.

        Args:
            rng: Generator for the strong view: its histogram matching and its geometry.
            labelled: Labelled patches of the same step to copy from, (L, channels, *patch).

        Returns:
            ``unlabelled_weak`` and ``unlabelled_strong``, (B, channels, *patch), ``boxes``, (B, *patch), ``flips``,
            (B, ndim), and ``pasted``, (B,); with partly labelled cases or removed components also what is known of
            them in the geometry of the weak view, see ``JoinedCases``.
        """
        batch = self.next_weak()
        weak, mask = batch["data"], batch["target"]
        strong = weak.clone()
        if self.matching is not None:
            self.matching.change(strong, self.loader._data, batch["keys"], rng)
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
            self.settings.copy_paste_probability,
        )
        known = self.joined.known_labels(mask, batch["keys"]) if self.joined else known_background(mask)
        return {
            **known,
            "unlabelled_weak": weak,
            "unlabelled_strong": geometry.apply(strong, labelled),
            "unlabelled_keys": batch["keys"],
            "boxes": geometry.boxes,
            "flips": geometry.flips,
            "pasted": geometry.pasted,
        }

    def next_weak(self) -> dict:
        """Return nnU-Net's next batch; foreground is oversampled as in labelled patches once its places are known."""
        known_places = self.refresh is not None and self.refresh.epoch is not None
        self.loader.oversample_foreground_percent = self.foreground_share if known_places else 0.0
        with naming_damaged_cases(getattr(self.loader, "_data", None)):
            return next(self.loader)


@dataclass(frozen=True)
class WorkerFailure:
    """Message to the training in place of a batch.

    Attributes:
        text: Traceback of the worker, or the message of a ``UserError``.
        input_is_bad: The text is the message of a ``UserError``.
    """

    text: str
    input_is_bad: bool = False


def cases_of(batch: dict) -> list[str]:
    """Return the names of the labelled and unlabelled cases of a batch."""
    return [str(case) for key in ("keys", "unlabelled_keys") for case in batch.get(key, ())]


class SeededBatches:
    """Iterate over batches whose content depends on seed, stream and step alone, not on the worker that makes them.

    MultiThreadedAugmenter of batchgenerators copies this object into W workers, tells each its number, and takes their
    batches in turn: the k-th batch of worker w is step ``first_step + k * W + w``.

    Args:
        labelled: Loader of nnU-Net.
        unlabelled: Unlabelled part of the batches; None for labelled patches alone (validation).
        seed: Seed of the training.
        stream: Name that separates the random numbers of this stream from others.
        first_step: Step of the first batch; the current one if a training is resumed.
        num_workers: Number of workers, W; 0 to use only the main process.
        rank: Rank of this process in distributed training.
        highest_label: Largest value that the targets may hold; None does not look.
        partly: Labelled cases in which only some classes are annotated; their background gets the ignore label.
        matching: Histogram matching of the labelled patches; None without.
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
        highest_label: int | None = None,
        partly: PartlyAnnotated | None = None,
        matching: HistogramMatching | None = None,
    ) -> None:
        self.highest_label = highest_label
        self.partly = partly
        self.matching = matching
        self.labelled = labelled
        self.unlabelled = unlabelled
        self.seed = seed
        self.stream = stream
        self.rank = rank
        self.next_step = first_step
        self.num_workers = num_workers
        self.in_worker = False

    @property
    def transforms(self) -> BasicTransform | None:
        """Augmentation of the labelled patches, which nnU-Net writes into debug.json."""
        return self.labelled.transforms

    def set_thread_id(self, thread_id: int) -> None:
        """Set the number of this worker; batchgenerators calls this in each worker."""
        self.next_step += thread_id
        self.in_worker = True
        end_with_parent()
        # A forked worker inherits the parent's OpenMP state but not its threads: a parallel region would wait forever.
        torch.set_num_threads(1)

    def __iter__(self) -> Iterator[dict | WorkerFailure]:
        return self

    def __next__(self) -> dict | WorkerFailure:
        if not self.in_worker:
            return self._batch()
        try:
            return share_memory(self._batch())
        except UserError as error:
            return WorkerFailure(str(error), input_is_bad=True)
        except Exception:
            return WorkerFailure(traceback.format_exc())

    def seed_of(self, step: int) -> int:
        """Return the seed of the random numbers of one step."""
        return derive_seed(self.seed, self.stream, step, self.rank)

    def _batch(self) -> dict:
        step = self.next_step
        seed = self.seed_of(step)
        self.next_step += max(1, self.num_workers)
        seed_everything(seed)
        with naming_damaged_cases(getattr(self.labelled, "_data", None)):
            batch = next(self.labelled)
        if self.highest_label is not None:
            refuse_unknown_labels(batch["keys"], batch["target"], self.highest_label)
        if self.partly is not None:
            self.partly.hide_background(batch)
        rng = np.random.default_rng(seed)
        if self.matching is not None:
            self.matching.change(batch["data"], self.labelled._data, batch["keys"], rng)
        if self.unlabelled is not None:
            self.unlabelled.go_to(step, may_wait=self.in_worker or self.rank > 0)
            batch.update(self.unlabelled.draw(rng, batch["data"]))
            if self.highest_label is not None and "unlabelled_known" in batch:
                known = batch["unlabelled_known"].clamp(min=0)  # negative where nothing is known
                refuse_unknown_labels(batch["unlabelled_keys"], known, self.highest_label)
        return {**batch, "step": step}


def refuse_unknown_labels(cases: Sequence[str], target: torch.Tensor | list[torch.Tensor], highest: int) -> None:
    """Refuse labels that hold values that the network has no output for.

    On a GPU the loss would end the process with an assertion that names nothing.

    Args:
        cases: Names of the cases of the patches.
        target: Their labels, (B, *patch) or (B, 1, *patch), or a list of them.
        highest: Largest allowed value.

    Raises:
        UserError: Names the cases and the values.
    """
    target = target[0] if isinstance(target, list) else target
    bad = {
        str(case): sorted({int(labels.min()), int(labels.max())} - set(range(highest + 1)))
        for case, labels in zip(cases, target, strict=True)
        if labels.min() < 0 or labels.max() > highest
    }
    if bad:
        values = sorted({value for found in bad.values() for value in found})
        raise UserError(
            f"The preprocessed labels of {listing(sorted(bad))} hold the value(s) {listing(map(str, values))}, "
            f"expected 0 to {highest} (dataset.json). Correct them in labelsTr (a mask of 0 and 255: divide it by 255) "
            "and preprocess again."
        )


def share_memory(batch: dict) -> dict:
    """Move all tensors of a batch to shared memory, in place.

    Otherwise the queue would do so in a thread of its own, which silently drops the batch if shared memory is full.
    """
    for value in batch.values():
        for tensor in value if isinstance(value, list) else [value]:
            if isinstance(tensor, torch.Tensor):
                tensor.share_memory_()
    return batch
