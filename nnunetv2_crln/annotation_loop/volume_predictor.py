"""Predict whole unlabelled scans with a trained model, from their preprocessed files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from torch import Tensor, nn

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import CHECKPOINT_BEST, CHECKPOINT_FINAL, dataset_number, fold_name
from nnunetv2_crln.model_folders import find_folds
from nnunetv2_crln.preprocessed_dataset.unlabelled_status import unlabelled_cases_of
from nnunetv2_crln.raw_dataset.cases import source_record
from nnunetv2_crln.raw_dataset.check_dataset_json import read_checked_dataset_json
from nnunetv2_crln.raw_dataset.folders import DatasetFolders, find_dataset
from nnunetv2_crln.utilities.checkpoint_files import read_model
from nnunetv2_crln.utilities.devices import available_device


@dataclass(frozen=True)
class ModelChoice:
    """Choice of the network that predicts, and how; the flags of ``nnUNetv2_predict``.

    Attributes:
        model: ``TRAINER__PLANS__CONFIGURATION`` in nnUNet_results, or one fold_X in it.
        folds: Folds whose networks are averaged; if empty, all trained ones.
        checkpoint: File name of the checkpoint in each fold.
        device: Device: ``cpu``, ``cuda`` or ``mps``.
        mirroring: Average over mirrored images, as nnU-Net does.
        step_size: Step of the sliding window, as a share of the patch.
    """

    model: Path
    folds: tuple[str, ...] = ()
    checkpoint: str = CHECKPOINT_FINAL
    device: str = "cuda"
    mirroring: bool = True
    step_size: float = 0.5


@dataclass(frozen=True)
class VolumePrediction:
    """Output of a model for one scan, on the preprocessed grid.

    Attributes:
        case: Name of the case.
        image: Preprocessed image, (channels, *grid), float32.
        logits: Output of the network, (heads, *grid), float32.
        properties: Properties of the preprocessed case from nnU-Net.
        descriptor: Mean of the encoder's deepest features over the scan, (F,); empty without an encoder.
    """

    case: str
    image: np.ndarray
    logits: Tensor
    properties: dict
    descriptor: np.ndarray

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel of the grid."""
        cropped = self.properties["shape_after_cropping_and_before_resampling"]
        share = float(np.prod(cropped)) / float(np.prod(self.logits.shape[1:]))
        return share * float(np.prod(self.properties["spacing"])) / 1000


class VolumePredictor:
    """Predict the preprocessed unlabelled cases of a dataset with a trained model.

    Args:
        choice: The model.

    Raises:
        UserError: The model does not exist, is damaged or is the second stage of a cascade, the dataset.json of its
            dataset is wrong, or its unlabelled cases are not preprocessed.
    """

    def __init__(self, choice: ModelChoice) -> None:
        folds = _trained_folds(choice)
        self.model = folds[0].parent
        self.device = available_device(choice.device)
        # nnU-Net takes trainer and configuration from the first checkpoint as well: folders may have been renamed.
        checkpoints = [read_model(fold / choice.checkpoint) for fold in folds]
        self.configuration: str = checkpoints[0]["init_args"]["configuration"]
        predictor = nnUNetPredictor(
            tile_step_size=choice.step_size,
            use_mirroring=choice.mirroring,
            perform_everything_on_device=self.device.type == "cuda",
            device=self.device,
            allow_tqdm=False,
        )
        names = tuple(fold_name(fold) for fold in folds)
        predictor.initialize_from_trained_model_folder(str(self.model), names, choice.checkpoint)
        self._predictor: Any = predictor
        self.plans_manager: Any = predictor.plans_manager
        self.configuration_manager: Any = predictor.configuration_manager
        self.label_manager: Any = predictor.label_manager
        self.dataset_json: dict = predictor.dataset_json
        if self.configuration_manager.previous_stage_name is not None:
            raise UserError(
                f"{self.model} is the second stage of a cascade, which needs predictions of the first. Use a model of "
                "2d, 3d_lowres or 3d_fullres."
            )
        self.folders: DatasetFolders = find_dataset(int(dataset_number(self.plans_manager.dataset_name)))
        read_checked_dataset_json(self.folders.raw)  # what is written at the end depends on it
        folder, self.status = unlabelled_cases_of(self.folders, self.plans_manager, self.configuration)
        self.cases = self.status.ready
        self._dataset = nnUNetDatasetBlosc2(str(folder), self.cases)
        self._folder = folder
        self.made_from = {
            "checkpoints": {fold.name: source_record([str(fold / choice.checkpoint)]) for fold in folds},
            "mirroring": choice.mirroring,
            "step_size": choice.step_size,
        }

    def record(self, case: str) -> dict:
        """Return a record of what a result for this case depends on: the checkpoints and the preprocessed file."""
        return {**self.made_from, "case": source_record([str(self._folder / f"{case}.b2nd")])}

    def __call__(self, case: str) -> VolumePrediction:
        """Predict one case."""
        data, _, _, properties = self._dataset.load_case(case)
        image = np.asarray(data[:], dtype=np.float32)
        with _Descriptor(self._predictor.network) as descriptor:
            logits = self._predictor.predict_logits_from_preprocessed_data(torch.from_numpy(image)).float()
        return VolumePrediction(case, image, logits, properties, descriptor.mean())

    def in_original_space(self, prediction: VolumePrediction) -> tuple[np.ndarray, np.ndarray]:
        """Resample a prediction to the grid of the scan, as nnU-Net exports it.

        Returns:
            Label map (*grid), and probabilities (heads, *grid).
        """
        return convert_predicted_logits_to_segmentation_with_correct_shape(
            prediction.logits,
            self.plans_manager,
            self.configuration_manager,
            self.label_manager,
            prediction.properties,
            return_probabilities=True,
            num_threads_torch=torch.get_num_threads(),
        )


class _Descriptor:
    """Collect the deepest features of an encoder while the network predicts the windows of one scan."""

    def __init__(self, network: nn.Module) -> None:
        self._encoder = getattr(network, "encoder", None)
        self._sum: Tensor | None = None
        self._count = 0

    def __enter__(self) -> _Descriptor:
        self._hook = self._encoder.register_forward_hook(self._collect) if self._encoder is not None else None
        return self

    def __exit__(self, *_: object) -> None:
        if self._hook is not None:
            self._hook.remove()

    def _collect(self, _module: nn.Module, _inputs: object, output: Tensor | Sequence[Tensor]) -> None:
        deepest = output if isinstance(output, Tensor) else output[-1]
        summed = deepest.detach().float().flatten(2).mean(2).sum(0)
        self._sum = summed if self._sum is None else self._sum + summed
        self._count += len(deepest)

    def mean(self) -> np.ndarray:
        return np.zeros(0) if self._sum is None else (self._sum / self._count).cpu().numpy()


def _trained_folds(choice: ModelChoice) -> list[Path]:
    folds = find_folds(choice.model)
    finished = [fold for fold in folds if (fold / choice.checkpoint).is_file()]
    chosen = [fold for fold in finished if not choice.folds or fold_name(fold) in choice.folds]
    if missing := sorted(set(choice.folds) - {fold_name(fold) for fold in chosen}):
        present = ", ".join(fold.name for fold in finished) or "none"
        raise UserError(
            f"{choice.model} has no {choice.checkpoint} for fold(s) {', '.join(missing)} (-f). It has: {present}. "
            "Train the fold to its end, or name another checkpoint with -chk."
        )
    if not chosen:
        raise UserError(
            f"No fold of {choice.model} has a {choice.checkpoint}. Train it to its end, or name another checkpoint "
            f"with -chk, such as {CHECKPOINT_BEST}."
        )
    # Fold "all" was trained on every case: averaging it with the others is meaningless.
    others = [fold for fold in chosen if fold.name != "fold_all"]
    return others or chosen
