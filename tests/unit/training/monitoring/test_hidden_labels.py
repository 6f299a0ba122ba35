"""Hidden labels on the preprocessed grid: as nnU-Net's preprocessor brings labels there."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.training.monitoring.hidden_labels import HiddenLabels

RESAMPLING = {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None}


def make_plans(spacing=(1.0, 1.0, 1.0), transpose=(0, 1, 2)) -> PlansManager:
    configuration = {
        "data_identifier": "x",
        "architecture": {"network_class_name": "x", "arch_kwargs": {}, "_kw_requires_import": []},
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [8, 8, 8][-len(spacing) :],
        "spacing": list(spacing),
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {**RESAMPLING, "is_seg": False, "order": 3},
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_seg_kwargs": RESAMPLING,
    }
    return PlansManager(
        {
            "dataset_name": "Dataset990_Synthetic",
            "image_reader_writer": "SimpleITKIO",
            "transpose_forward": list(transpose),
            "transpose_backward": list(np.argsort(transpose)),
            "foreground_intensity_properties_per_channel": {"0": {}},
            "configurations": {"c": configuration},
        }
    )


def write(raw: Path, image: np.ndarray, label: np.ndarray, spacing=(1.0, 1.0, 1.0)) -> None:
    for folder, name, array in (("imagesUl", "case_0000", image), ("labelsUl", "case", label)):
        path = raw / "Dataset990_Synthetic" / folder / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = sitk.GetImageFromArray(array)
        picture.SetSpacing(tuple(reversed(spacing)))
        sitk.WriteImage(picture, os.fspath(path))


@pytest.mark.parametrize(
    ("spacing", "transpose"),
    [((1.0, 1.0, 1.0), (0, 1, 2)), ((1.0, 2.0, 2.0), (0, 1, 2)), ((2.0, 1.0, 1.0), (2, 0, 1)), ((2.0, 2.0), (0, 1, 2))],
)
def test_labels_arrive_as_nnunets_own_preprocessor_brings_them(tmp_path, spacing, transpose):
    rng = np.random.default_rng(0)
    image = rng.uniform(1, 2, (10, 12, 14)).astype(np.float32)
    image[:2] = image[:, :3] = 0  # cropped away
    label = rng.integers(0, 3, image.shape).astype(np.uint8)
    write(tmp_path, image, label)
    plans = make_plans(spacing, transpose)
    configuration = plans.get_configuration("c")
    folder = tmp_path / "Dataset990_Synthetic"
    dataset_json = {"labels": {"background": 0, "a": 1, "b": 2}, "file_ending": ".nii.gz"}
    arguments = ([str(folder / "imagesUl" / "case_0000.nii.gz")], str(folder / "labelsUl" / "case.nii.gz"))
    preprocessor = configuration.preprocessor_class(verbose=False)
    _, expected, _ = preprocessor.run_case(*arguments, plans, configuration, dataset_json)
    data, _, properties = preprocessor.run_case(arguments[0], None, plans, configuration, dataset_json)

    hidden = HiddenLabels(plans, configuration, ".nii.gz", tmp_path)
    found = hidden.load("case", properties, data.shape[1:])

    inside = expected[0] >= 0  # nnU-Net marks voxels outside of the nonzero region
    assert found is not None and found.shape == data.shape[1:]
    np.testing.assert_array_equal(found[inside], expected[0][inside])


def test_without_raw_folder_or_label_there_is_none(tmp_path, monkeypatch):
    monkeypatch.delenv("nnUNet_raw", raising=False)
    plans = make_plans()
    for raw in (None, tmp_path, tmp_path / "missing"):
        assert HiddenLabels(plans, plans.get_configuration("c"), ".nii.gz", raw).load("case", {}, (4, 4, 4)) is None


def test_a_label_of_another_shape_is_named_and_left_out(tmp_path, capsys):
    write(tmp_path, np.ones((4, 4, 4), np.float32), np.zeros((5, 4, 4), np.uint8))
    plans = make_plans()
    hidden = HiddenLabels(plans, plans.get_configuration("c"), ".nii.gz", tmp_path)
    assert hidden.load("case", {"shape_before_cropping": (4, 4, 4)}, (4, 4, 4)) is None
    assert "case.nii.gz has another shape" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("label", "text"),
    [
        (b"junk", "cannot be read"),
        (b"", "it is empty"),
        (np.full((4, 4, 4), 255, np.uint8), "holds the value.* 255"),
        (np.full((4, 4, 4), np.nan, np.float32), "has NaN"),
    ],
)
def test_a_label_that_cannot_be_used_is_named_once_and_left_out(tmp_path, label, text):
    write(
        tmp_path, np.ones((4, 4, 4), np.float32), np.zeros((4, 4, 4), np.uint8) if isinstance(label, bytes) else label
    )
    if isinstance(label, bytes):
        (tmp_path / "Dataset990_Synthetic" / "labelsUl" / "case.nii.gz").write_bytes(label)
    plans, lines = make_plans(), []
    hidden = HiddenLabels(
        plans, plans.get_configuration("c"), ".nii.gz", tmp_path, allowed=[0, 1, 2], print_line=lines.append
    )
    for _ in range(2):
        assert hidden.load("case", {"shape_before_cropping": (4, 4, 4)}, (4, 4, 4)) is None
    assert len(lines) == 1 and "case.nii.gz" in lines[0] and re.search(text, lines[0])


@pytest.mark.parametrize(
    ("module", "readers"),
    [
        ("training.monitoring.hidden_labels", {"build.py", "patches.py"}),
        ("raw_dataset.check_hidden_labels", {"nnunet_steps.py", "dataset.py"}),
    ],
)
def test_nothing_but_monitoring_and_checks_reads_hidden_labels(module, readers):
    package = Path(__file__).parents[4] / "nnunetv2_crln"
    text = f"from nnunetv2_crln.{module} import"
    assert {path.name for path in package.rglob("*.py") if text in path.read_text(encoding="utf-8")} == readers
