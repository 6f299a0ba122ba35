"""Let the teacher segment whole preprocessed cases by nnU-Net's sliding window."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunetv2_crln.training.method.crln import CRLN
from nnunetv2_crln.training.whole_volume_refresh.store import digest_of


class VolumeTeacher:
    """Segment whole cases with the teacher at its present weights, without mirroring and without random numbers.

    Args:
        method: Method in training. Its teacher is used uncompiled, because another batch size would compile it anew.
        device: Device of the teacher.
        autocast: Function that returns the autocast context of the training.
        plans_manager: nnU-Net's plans.
        configuration_manager: nnU-Net's configuration.
        dataset_json: Content of dataset.json.
        regions: The outputs are regions, which may overlap; otherwise they are classes.
    """

    def __init__(
        self,
        method: CRLN,
        device: torch.device,
        autocast: Callable[[], contextlib.AbstractContextManager],
        plans_manager: Any,
        configuration_manager: Any,
        dataset_json: dict,
        regions: bool,
    ) -> None:
        self._method, self._autocast, self._regions = method, autocast, regions
        self._predictor = nnUNetPredictor(
            tile_step_size=0.5,
            use_mirroring=False,
            perform_everything_on_device=device.type == "cuda",
            device=device,
            allow_tqdm=False,
        )
        network = method.teacher.module
        self._predictor.manual_initialization(
            network, plans_manager, configuration_manager, None, dataset_json, "", None
        )
        self._predictor.network = network  # nnU-Net may have compiled it

    def digest(self) -> str:
        """Return a digest of the present weights."""
        return digest_of(self._method.teacher.module.state_dict())

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Segment a case.

        Args:
            image: Preprocessed image, (channels, *grid).

        Returns:
            True inside of each foreground class or region, (K, *grid).
        """
        network = self._method.teacher.module
        with self._autocast(), self._method.ignoring_features(network):
            data = torch.from_numpy(np.asarray(image, dtype=np.float32))
            logits = self._predictor.predict_sliding_window_return_logits(data)
        logits = torch.as_tensor(logits).cpu()  # in half precision: all classes of a scan in float32 need gigabytes
        if self._regions:
            return (logits > 0).numpy()  # a probability above one half
        labels = _most_probable(logits)
        masks = np.empty((len(logits) - 1, *labels.shape), dtype=bool)
        for value, mask in enumerate(masks, start=1):
            np.equal(labels, value, out=mask)
        return masks


def _most_probable(logits: torch.Tensor) -> np.ndarray:
    """Return the index of the largest logit of each voxel; one class at a time is converted to float32."""
    best = logits[0].to(torch.float32, copy=True)
    labels = torch.zeros(best.shape, dtype=torch.int16)
    for value in range(1, len(logits)):
        candidate = logits[value].float()
        labels[candidate > best] = value
        torch.maximum(best, candidate, out=best)
    return labels.numpy()
