"""Segment images with the networks of a training and compare them with labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from beds import Case, raw_cases
from runs import Run

from nnunetv2_crln.errors import UserError

METRICS = ("Dice", "Jaccard", "HD95_mm", "HD95_voxel", "ASD_voxel", "ASSD_mm")
DEVELOPMENT_CASES = 30

Segment = Callable[[Sequence[Path]], np.ndarray]


def networks(trainer) -> dict:
    """Return the networks that could be deployed, without deep supervision; the deployed one is the first."""
    from rectified_network import RectifiedNetwork

    from nnunetv2_crln.training.trainer import nnUNetTrainer_CRLN
    from nnunetv2_crln.utilities.wrapped_network import unwrap

    student = unwrap(trainer.network)
    student.decoder.deep_supervision = False
    if not isinstance(trainer, nnUNetTrainer_CRLN):
        return {"student": student}
    trainer.method.teacher.module.decoder.deep_supervision = False
    found = {"teacher": trainer.method.teacher.module, "student": student}
    if trainer.settings.dim:
        found["rectified_teacher"] = RectifiedNetwork(
            trainer.method.teacher.module, trainer.method.teacher_heads.module, trainer.method.rectifier
        )
    return found


def segmenter(trainer, network, step_size: float = 0.5) -> Segment:
    """Return a function from the files of a case to its segmentation: nnU-Net's sliding window without mirroring."""
    import torch
    from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(tile_step_size=step_size, use_mirroring=False, device=trainer.device, allow_tqdm=False)
    plans, configuration = trainer.plans_manager, trainer.configuration_manager
    predictor.manual_initialization(
        network.eval(), plans, configuration, None, trainer.dataset_json, type(trainer).__name__, None
    )
    preprocessor = configuration.preprocessor_class(verbose=False)

    def segment(images: Sequence[Path]) -> np.ndarray:
        files = [str(image) for image in images]
        data, _, properties = preprocessor.run_case(files, None, plans, configuration, trainer.dataset_json)
        logits = predictor.predict_sliding_window_return_logits(torch.from_numpy(data)).cpu()
        return convert_predicted_logits_to_segmentation_with_correct_shape(
            logits, plans, configuration, trainer.label_manager, properties, num_threads_torch=1
        )

    return segment


def judged_cases(run: Run, work: Path) -> list[Case]:
    """Return what a run is measured on: the held-out cases, or some unlabelled ones with their hidden labels."""
    folder = work / "raw" / run.dataset
    if run.judge == "test":
        return raw_cases(folder, "HeldOut", ".nii.gz")
    cases = raw_cases(folder, "Ul", ".nii.gz")
    if not cases:
        raise SystemExit(f"{run.bed} has no unlabelled cases to develop with: choose --judge test.")
    return cases[:: max(1, len(cases) // DEVELOPMENT_CASES)][:DEVELOPMENT_CASES]


def measure(segment: Segment, cases: Sequence[Case], labels: dict[str, int]) -> dict[str, dict[str, dict]]:
    """Return the metrics by case and class."""
    import SimpleITK as sitk

    from nnunetv2_crln.evaluation.metrics import mask_metrics
    from nnunetv2_crln.raw_dataset.classes import class_values

    found: dict[str, dict[str, dict]] = {}
    for case in cases:
        label = sitk.ReadImage(str(case.label))
        reference, spacing = sitk.GetArrayFromImage(label), tuple(reversed(label.GetSpacing()))
        prediction = segment(case.images)
        found[case.name] = {}
        for name, values in class_values({"labels": labels}).items():
            metrics = mask_metrics(np.isin(prediction, values), np.isin(reference, values), spacing)
            found[case.name][name] = {key: _rounded(metrics[key]) for key in METRICS}
    return found


def _rounded(value: float) -> float | None:
    return round(float(value), 5) if np.isfinite(value) else None


def largest_components(segment: Segment) -> Segment:
    """Return a segmenter that keeps the largest component of the foreground alone, as nnU-Net's postprocessing can."""
    from nnunetv2.postprocessing.remove_connected_components import remove_all_but_largest_component_from_segmentation

    def segment_one(images: Sequence[Path]) -> np.ndarray:
        found = segment(images)
        return remove_all_but_largest_component_from_segmentation(found, [v for v in np.unique(found).tolist() if v])

    return segment_one


def write_predictions(segment: Segment, images: Path, archive: Path, ending: str = ".nii.gz") -> int:
    """Write the segmentations of a folder's cases into one tar.xz; return their number."""
    import tarfile
    import tempfile

    import SimpleITK as sitk

    cases: dict[str, list[Path]] = {}
    for image in sorted(images.glob(f"[!.]*{ending}")):
        name = image.name[: -len(ending)]
        cases.setdefault(name[:-5] if name[-5:-4] == "_" and name[-4:].isdigit() else name, []).append(image)
    if not cases:
        raise UserError(f"{images} has no image that ends in {ending}. Name the folder of the images with --images.")
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:xz") as tar, tempfile.TemporaryDirectory() as folder:
        for name, files in cases.items():
            labels = sitk.GetImageFromArray(segment(files).astype(np.uint8))
            labels.CopyInformation(sitk.ReadImage(str(files[0])))
            file = Path(folder) / f"{name}{ending}"
            sitk.WriteImage(labels, str(file), True)
            tar.add(file, arcname=file.name)
    return len(cases)
