"""Override nnU-Net's hooks so that validation judges the network that will be deployed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from nnunetv2_crln.training.method.crln import CRLN
from nnunetv2_crln.utilities.wrapped_network import undistributed, unwrap


class Deployment:
    """Mixin for nnU-Net's trainer: online and final validation see what ``nnUNetv2_predict`` will load.

    Attributes:
        method: Student and teacher, and the choice between them.
    """

    method: CRLN

    @contextlib.contextmanager
    def deployed_network(self: Any) -> Iterator[None]:
        """Replace ``self.network`` by the network that will be deployed, within the ``with`` block."""
        student = self.network
        # Not inside DistributedDataParallel, which synchronises the statistics of batch norm in every pass, while the
        # processes predict different numbers of patches.
        self.network = self.method.teacher_network if self.method.deploys_teacher else undistributed(student)
        try:
            with self.method.ignoring_features(self.network):
                yield
        finally:
            self.network = student
            self.method.teach_at_full_resolution()

    def set_deep_supervision_enabled(self: Any, enabled: bool) -> None:
        """Switch the deep supervision of ``self.network`` on or off, even inside torch.compile."""
        unwrap(self.network).decoder.deep_supervision = enabled  # type: ignore[union-attr]

    def validation_step(self: Any, batch: dict) -> dict:
        """Validate the network that will be deployed."""
        with self.deployed_network():
            self.set_deep_supervision_enabled(self.enable_deep_supervision)
            result = super().validation_step(batch)  # type: ignore[misc]
        # Use the precision of the log in checkpoints: a moving average continued from there must not differ.
        return {name: np.asarray(value, dtype=np.float64) for name, value in result.items()}

    def perform_actual_validation(self: Any, save_probabilities: bool = False) -> None:
        """Validate the network that will be deployed on whole cases."""
        with self.validating(), self.deployed_network():
            super().perform_actual_validation(save_probabilities)  # type: ignore[misc]
