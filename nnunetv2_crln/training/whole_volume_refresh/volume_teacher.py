"""Let the teacher segment whole preprocessed cases by nnU-Net's sliding window."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunetv2_crln.training.method import CRLN
from nnunetv2_crln.training.whole_volume_refresh.store import digest_of


class VolumeTeacher:
    """Segment whole cases with the teacher at its present weights, without mirroring and without random numbers.

    Args:
        method: Method in training. Its teacher is used uncompiled, because another batch size would compile it anew.
        device: Device of the teacher.
        arithmetic: Function that returns the autocast context of the training.
        plans_manager: nnU-Net's plans.
        configuration_manager: nnU-Net's configuration.
        dataset_json: Content of dataset.json.
        regions: The outputs are regions, which may overlap; otherwise they are classes.
    """

    def __init__(
        self,
        method: CRLN,
        device: torch.device,
        arithmetic: Callable[[], contextlib.AbstractContextManager],
        plans_manager: Any,
        configuration_manager: Any,
        dataset_json: dict,
        regions: bool,
    ) -> None:
        self._method, self._arithmetic, self._regions = method, arithmetic, regions
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
        with self._arithmetic(), self._method.ignoring_features(network):
            data = torch.from_numpy(np.asarray(image, dtype=np.float32))
            logits = self._predictor.predict_sliding_window_return_logits(data)
        logits = torch.as_tensor(logits).cpu().float()  # in half precision until it has left the device
        if self._regions:
            return (logits > 0).numpy()  # a probability above one half
        labels = logits.argmax(0)
        return torch.stack([labels == value for value in range(1, len(logits))]).numpy()
