"""Read labelsUl to measure pseudo labels; no module of the package outside training/monitoring may import this one.

Training never sees these labels, which are only turned into numbers and pictures. Planning and preprocessing open them
only for checks that the user asks for (raw_dataset/check_hidden_labels.py).
"""

import os
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunetv2_crln.errors import exact, listing
from nnunetv2_crln.layout import LABELS_UNLABELLED
from nnunetv2_crln.raw_dataset.read_errors import explain_read_error
from nnunetv2_crln.utilities.nifti import nifti_is_finite


class HiddenLabels:
    """Load labels of the unlabelled cases on the preprocessed grid.

    Args:
        plans_manager: nnU-Net's plans.
        configuration_manager: Configuration in training.
        file_ending: Entry of dataset.json, for example ``.nii.gz``.
        raw_folder: ``nnUNet_raw``; None takes the environment variable. It may be missing, so that no label is found.
        allowed: Values that may occur; None allows all.
        print_line: Function that prints a line into the training's log.
    """

    def __init__(
        self,
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        file_ending: str,
        raw_folder: str | Path | None = None,
        allowed: Collection[int] | None = None,
        print_line: Callable[[str], None] = print,
    ) -> None:
        self._allowed, self._print_line = allowed, print_line
        self._left_out: set[str] = set()
        self._plans = plans_manager
        self._configuration = configuration_manager
        self._ending = file_ending
        root = raw_folder or os.environ.get("nnUNet_raw")
        self._folder = Path(root) / plans_manager.dataset_name / LABELS_UNLABELLED if root else None

    def load(self, case: str, properties: dict, shape: tuple[int, ...]) -> np.ndarray | None:
        """Load the label of one case and resample it to the preprocessed grid as nnU-Net does.

        Args:
            case: Identifier of the case.
            properties: Properties of the preprocessed case from nnU-Net.
            shape: Shape of the preprocessed image without channels.

        Returns:
            Label with that shape, int16; None if it is missing or does not fit the image.
        """
        path = self._folder / f"{case}{self._ending}" if self._folder else None
        if path is None or not path.is_file():
            return None
        try:
            if not nifti_is_finite(path):  # ITK reads NaN, and what is missing at the end, as 0
                self._leave_out(path, "has NaN or infinite voxels")
                return None
            label, _ = self._plans.image_reader_writer_class().read_seg(str(path))
            return self._on_the_grid(label, path, properties, shape)
        except Exception as error:
            # One file that cannot be read must not end the monitoring of all others.
            self._leave_out(path, f"cannot be read ({explain_read_error(path, error, is_label=True)})")
            return None

    def _leave_out(self, path: Path, reason: str) -> None:
        if path.name not in self._left_out:
            self._left_out.add(path.name)
            self._print_line(f"WARNING: {path} {reason}; its pseudo label is not measured. All other cases are.")

    def _on_the_grid(
        self, label: np.ndarray, path: Path, properties: dict, shape: tuple[int, ...]
    ) -> np.ndarray | None:
        if self._allowed is not None and (unknown := np.setdiff1d(np.unique(label), list(self._allowed))).size:
            shown = listing(map(exact, unknown))
            self._leave_out(path, f"holds the value(s) {shown}, but dataset.json knows {sorted(self._allowed)}")
            return None
        forward = self._plans.transpose_forward
        label = label.transpose([0, *(axis + 1 for axis in forward)])
        if label.shape[1:] != tuple(properties["shape_before_cropping"]):
            self._leave_out(path, "has another shape than its image")
            return None
        label = label[(slice(None), *(slice(low, high) for low, high in properties["bbox_used_for_cropping"]))]
        spacing = [properties["spacing"][axis] for axis in forward]
        target = list(self._configuration.spacing)
        if len(target) < len(shape):  # a 2d configuration keeps the distance of slices
            target = [spacing[0], *target]
        return self._configuration.resampling_fn_seg(label, shape, spacing, target)[0].astype(np.int16)
