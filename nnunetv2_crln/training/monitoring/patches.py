"""Cut patches out of unlabelled cases for the monitor."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset

from nnunetv2_crln.training.monitoring.hidden_labels import HiddenLabels

# Enough cases to know where the foreground lies; reading more would take longer without moving the patch.
CASES_FOR_CENTRE = 20


@dataclass(frozen=True)
class Patch:
    """Patch of one unlabelled case, as large as those of the training.

    Attributes:
        case: Identifier of the case.
        image: Voxels, (channels, *patch), float32.
        inside: True for voxels of the image, False for padding around a small image, (*patch), bool.
        truth: Hidden label, (*patch), or None.
        spacing: Spacing of each axis of the patch, in mm.
        box: Lower and upper bound of the patch on each axis of the preprocessed case, in voxels; a 2D patch has three
            axes here too.
    """

    case: str
    image: np.ndarray
    inside: np.ndarray
    truth: np.ndarray | None
    spacing: tuple[float, ...]
    box: tuple[tuple[int, int], ...]


class PatchReader:
    """Cut patches out of preprocessed unlabelled cases.

    Args:
        dataset: Dataset of nnU-Net with the unlabelled cases.
        patch_size: Patch size of the configuration; two numbers mean slices.
        spacing: Spacing of the configuration, in mm.
        centre: Usual centre of patches, as shares of each axis of a case.
        hidden_labels: Hidden labels; None for patches without truth.
    """

    def __init__(
        self,
        dataset: nnUNetBaseDataset,
        patch_size: Sequence[int],
        spacing: Sequence[float],
        centre: Sequence[float],
        hidden_labels: HiddenLabels | None,
    ) -> None:
        self._dataset, self._hidden_labels = dataset, hidden_labels
        self.cases: list[str] = list(dataset.identifiers)
        self._flat = len(patch_size) == 2
        self._patch = (1, *patch_size) if self._flat else tuple(patch_size)
        self._spacing = tuple(float(s) for s in spacing)
        self._centre = tuple(centre)

    def read(self, case: str) -> Patch:
        """Read the patch around the usual centre of the foreground in one case."""
        image, _, _, properties = self._dataset.load_case(case)
        shape = tuple(image.shape[1:])
        centre = [share * size for share, size in zip(self._centre, shape, strict=True)]
        box = patch_box(shape, self._patch, centre)
        truth = self._hidden_labels.load(case, properties, shape) if self._hidden_labels else None
        crop = np.asarray(crop_and_pad_nd(image, [[0, image.shape[0]], *box], 0), dtype=np.float32)
        inside = crop_and_pad_nd(np.ones(shape, dtype=np.uint8), box, 0).astype(bool)
        if truth is not None:
            truth = crop_and_pad_nd(truth, box, 0)
        if self._flat:
            crop, inside, truth = crop[:, 0], inside[0], None if truth is None else truth[0]
        bounds = tuple((low, high) for low, high in box)
        return Patch(case, np.ascontiguousarray(crop), inside, truth, self._spacing, bounds)

    def whole_slices(
        self, patch: Patch, axis: int | None, indices: Sequence[int | None]
    ) -> dict[int | None, np.ndarray]:
        """Read the slices of the scan in which slices of a patch lie.

        Args:
            patch: Patch that this reader has read.
            axis: Axis that slices are cut across; None for 2D patches.
            indices: Slices of the patch; [None] for 2D patches.

        Returns:
            First channel of each slice, (rows, columns), float32, by index.
        """
        image = self._dataset.load_case(patch.case)[0][0]
        across = axis or 0
        found = {}
        for index in indices:
            chosen: list[int | slice] = [slice(None)] * 3
            # A slice of the padding around a small image shows the nearest one of the image.
            chosen[across] = min(max(patch.box[across][0] + (index or 0), 0), image.shape[across] - 1)
            found[index] = np.asarray(image[tuple(chosen)], dtype=np.float32)
        return found


def patch_box(shape: Sequence[int], patch: Sequence[int], centre: Sequence[float]) -> list[list[int]]:
    """Compute the bounds of a patch around a centre, moved into the image.

    Args:
        shape: Shape of the image in voxels.
        patch: Patch size in voxels.
        centre: Centre in voxels.

    Returns:
        Lower and upper bound of each axis; an image smaller than the patch is centred in it.

    Example:
        >>> patch_box((10, 4), (4, 6), (9, 2))
        [[6, 10], [-1, 5]]
    """
    box = []
    for extent, size, place in zip(shape, patch, centre, strict=True):
        low = (extent - size) // 2 if extent <= size else min(max(round(place - size / 2), 0), extent - size)
        box.append([low, low + size])
    return box


def usual_foreground_centre(labelled_dataset: nnUNetBaseDataset) -> tuple[float, ...]:
    """Compute the average centre of the labelled cases' foreground, as shares of each axis.

    The middle of a scan may not contain any foreground, and the hidden labels of the unlabelled cases must not
    determine the place.

    Args:
        labelled_dataset: Dataset of nnU-Net with the labelled cases.

    Returns:
        Share of each axis, in [0, 1]; 0.5 if no case has foreground.
    """
    centres = []
    for case in list(labelled_dataset.identifiers)[:CASES_FOR_CENTRE]:
        try:
            image, _, _, properties = labelled_dataset.load_case(case)
        except Exception:  # a damaged case that the training may not even use must not end it
            continue
        # In datasets with an ignore label, nnU-Net's key for "all annotated voxels" starts with -1.
        places = [
            np.asarray(voxels)[:, -3:].mean(0)
            for key, voxels in properties["class_locations"].items()
            if len(voxels) and not (isinstance(key, tuple) and -1 in key)
        ]
        if places:
            centres.append(np.mean(places, 0) / np.asarray(image.shape[-3:]))
    return tuple(float(c) for c in np.mean(centres, 0)) if centres else (0.5,) * 3
