"""Give patches the intensities of another scan of the pool, so that the network knows all contrasts that there are.

Scans of several scanners differ in contrast even after nnU-Net's z-score, and a few labelled ones show few of these
contrasts: the teacher fails on the others, and the student learns its failures. A labelled patch with the intensities
of an unlabelled scan shows such a contrast together with a true label.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager
from torch import Tensor, from_numpy

from nnunetv2_crln.layout import CASE_LANDMARKS
from nnunetv2_crln.preprocessed_dataset.landmarks import LEVELS, landmarks_of_case
from nnunetv2_crln.training.dataloading.damaged import naming_damaged_cases

TIED = 3
"""Decimals to which landmarks are rounded; equal ones, as of a constant background, are joined."""

RELATIVE_SCHEMES = ("ZScoreNormalization", "RescaleTo01Normalization")
"""Normalisation schemes after which intensities have no meaning of their own; those of CT have one."""

_BEYOND = 1e3  # far beyond all normalised intensities: up to there values are shifted


def channels_to_match(configuration: ConfigurationManager) -> list[int]:
    """List the channels of a configuration whose intensities are relative, as those of MR images are."""
    return [number for number, name in enumerate(configuration.normalization_schemes) if name in RELATIVE_SCHEMES]


def matched(values: np.ndarray, landmarks: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Map intensities so that the landmarks of their scan become those of another one.

    Args:
        values: Intensities, any shape.
        landmarks: Landmarks of the scan that they come from, (levels,).
        wanted: Landmarks of the other scan, (levels,).

    Returns:
        Mapped intensities in float32; beyond the outer landmarks they are shifted. Where landmarks of the scan are
        equal, the mean of the wanted ones counts.
    """
    distinct, level = np.unique(landmarks.round(TIED), return_inverse=True)
    targets = np.bincount(level, wanted) / np.bincount(level)
    known = np.concatenate([distinct[:1] - _BEYOND, distinct, distinct[-1:] + _BEYOND])
    mapped = np.concatenate([targets[:1] - _BEYOND, targets, targets[-1:] + _BEYOND])
    return np.interp(values, known, mapped).astype(np.float32)


class HistogramMatching:
    """Match patches to random unlabelled scans, by landmarks of the whole scans.

    The landmarks are those of the scans as they were preprocessed. Labelled patches have been through nnU-Net's
    intensity changes before, and what a patch has outside of its scan is changed as well, unless the channel is masked.

    Args:
        scans: Unlabelled cases whose intensities patches may get.
        channels: Channels to match; all others stay as they are.
        masked: For each channel of the images, whether it is 0 outside of nnU-Net's nonzero mask and has to stay so.
        probability: Probability that a patch is changed.
    """

    def __init__(self, scans: Any, channels: Sequence[int], masked: Sequence[bool], probability: float) -> None:
        self.scans = scans
        self._names = np.asarray(scans.identifiers)  # once, because a draw from a list converts it whole
        self.channels, self.masked = list(channels), list(masked)
        self.probability = probability
        self._landmarks: dict[str, np.ndarray] = {}

    @classmethod
    def of_training(
        cls, scans: Any, configuration: ConfigurationManager, probability: float
    ) -> HistogramMatching | None:
        """Build the matching of a training.

        Args:
            scans: Unlabelled cases.
            configuration: Configuration of the plans, which says how channels are normalised.
            probability: Probability that a patch is changed.

        Returns:
            The matching; None if no patch could be changed.
        """
        channels = channels_to_match(configuration)
        if not (probability and channels and scans.identifiers):
            return None
        return cls(scans, channels, configuration.use_mask_for_norm, probability)

    def change(self, images: Tensor, source: Any, cases: Sequence[str], rng: np.random.Generator) -> None:
        """Change some patches of a batch in place.

        Args:
            images: Patches, (B, channels, *patch).
            source: Dataset that they come from.
            cases: Names of their cases, (B,).
            rng: Generator for which patches are changed, and to which scans.
        """
        for image, case in zip(images, cases, strict=True):
            if rng.random() >= self.probability:
                continue
            own, wanted = self._of(source, str(case)), self._of(self.scans, str(rng.choice(self._names)))
            for channel, landmarks, other in zip(self.channels, own, wanted, strict=True):
                values = image[channel].numpy()
                mapped = matched(values, landmarks, other)
                image[channel] = from_numpy(np.where(values == 0, 0, mapped) if self.masked[channel] else mapped)

    def _of(self, source: Any, case: str) -> np.ndarray:
        """Return the landmarks of a case, (channels to match, levels); each worker reads a case once.

        Preprocessing records those of unlabelled cases. Labelled ones are preprocessed by nnU-Net, and unlabelled ones
        may have been by a version that did not record any.
        """
        if case not in self._landmarks:
            with naming_damaged_cases(source):
                image, nonzero, _, properties = source.load_case(case)
                found = properties.get(CASE_LANDMARKS)
                if np.shape(found) != (image.shape[0], LEVELS.size):
                    found = landmarks_of_case(image, nonzero)
            self._landmarks[case] = found[self.channels]
        return self._landmarks[case]
