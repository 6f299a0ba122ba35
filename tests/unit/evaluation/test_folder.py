"""Folders of label maps: pairing, geometry, unknown labels, regions, ignore label, 2D."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_crln.cli.evaluate import main as evaluate_command
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.evaluation.folder import evaluate_folder, find_dataset_json, values_of
from nnunetv2_crln.evaluation.metrics import mask_metrics

LABELS = {"background": 0, "a": 1, "b": 2}
SPACING = (3.0, 1.0, 0.5)  # z, y, x


class Dataset:
    """labelsTr, predictions and dataset.json in a temporary folder."""

    def __init__(self, root: Path, labels: dict = LABELS, file_ending: str = ".nii.gz") -> None:
        self.labels, self.predictions, self.file_ending = root / "labelsTr", root / "predictions", file_ending
        self.labels.mkdir()
        self.predictions.mkdir()
        self.dataset_json = root / "dataset.json"
        self.dataset_json.write_text(json.dumps({"labels": labels, "file_ending": file_ending}))

    def write(self, folder: Path, case: str, array: np.ndarray, **geometry) -> Path:
        image = sitk.GetImageFromArray(array.astype(np.uint8))
        image.SetSpacing(geometry.get("spacing", SPACING[-array.ndim :])[::-1])
        image.SetOrigin(geometry.get("origin", (0.0,) * array.ndim))
        image.SetDirection(geometry.get("direction", np.eye(array.ndim).ravel().tolist()))
        sitk.WriteImage(image, str(folder / (case + self.file_ending)))
        return folder / (case + self.file_ending)

    def add(self, case: str, reference: np.ndarray, prediction: np.ndarray, **geometry) -> None:
        self.write(self.labels, case, reference)
        self.write(self.predictions, case, prediction, **geometry)

    def evaluate(self, **options) -> dict:
        return evaluate_folder(self.labels, self.predictions, **{"num_processes": 1, "show_progress": False, **options})


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset(tmp_path)


def label_map(seed: int, shape: tuple[int, ...] = (6, 8, 10), classes: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, classes, shape)


def test_every_case_and_class(dataset: Dataset) -> None:
    maps = {f"case_{index}": (label_map(index), label_map(index + 10)) for index in range(3)}
    for case, (reference, prediction) in maps.items():
        dataset.add(case, reference, prediction)
    found = dataset.evaluate()
    assert list(found["cases"]) == list(maps)
    for case, (reference, prediction) in maps.items():
        for name, value in (("a", 1), ("b", 2)):
            expected = mask_metrics(prediction == value, reference == value, SPACING)
            assert found["cases"][case]["metrics"][name] == pytest.approx(expected, rel=1e-6)
    dice = values_of(found, "Dice", ["a", "b"])
    assert dice.shape == (3, 2)
    assert found["mean"]["b"]["Dice"]["mean"] == pytest.approx(dice[:, 1].mean())
    assert found["foreground_mean"]["Dice"]["mean"] == pytest.approx(dice.mean())
    assert found["num_cases"] == found["mean"]["a"]["HD95_mm"]["n"] == 3


def test_dice_equals_nnunets_own_evaluation(tmp_path: Path) -> None:
    from nnunetv2.evaluation.evaluate_predictions import compute_metrics
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    dataset = Dataset(tmp_path, {**LABELS, "ignore": 3})
    dataset.add("x", label_map(0, classes=4), label_map(1))
    files = [str(folder / "x.nii.gz") for folder in (dataset.labels, dataset.predictions)]
    expected = compute_metrics(*files, SimpleITKIO(), [1, 2], ignore_label=3)["metrics"]
    found = dataset.evaluate()["cases"]["x"]["metrics"]
    for name, label in (("a", 1), ("b", 2)):
        assert found[name]["Dice"] == pytest.approx(expected[label]["Dice"])
        assert found[name]["Jaccard"] == pytest.approx(expected[label]["IoU"])
        assert (found[name]["n_ref"], found[name]["n_pred"]) == (expected[label]["n_ref"], expected[label]["n_pred"])


def test_regions(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path, {"background": 0, "whole": [1, 2], "core": 2})
    reference, prediction = label_map(0), label_map(1)
    dataset.add("x", reference, prediction)
    found = dataset.evaluate()
    assert found["classes"] == {"whole": [1, 2], "core": [2]}
    expected = mask_metrics(prediction > 0, reference > 0, SPACING)
    assert found["cases"]["x"]["metrics"]["whole"] == pytest.approx(expected)


def test_ignored_voxels_do_not_count(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path, {**LABELS, "ignore": 3})
    reference = np.zeros((6, 8, 10), int)
    reference[1:4, 2:6, 2:6] = 1
    prediction = reference.copy()
    reference[:, :, 6:] = 3
    prediction[:, :, 6:] = 1
    dataset.add("x", reference, prediction)
    found = dataset.evaluate()["cases"]["x"]["metrics"]["a"]
    assert (found["Dice"], found["HD95_mm"]) == (1, 0)


def test_a_2d_image_is_no_volume_of_one_slice(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path, file_ending=".nrrd")
    reference, prediction = np.zeros((2, 20, 20), int)
    reference[2:12, 2:12] = prediction[2:12, 4:14] = 1
    dataset.add("x", reference, prediction)
    expected = mask_metrics(prediction == 1, reference == 1, SPACING[1:])
    assert dataset.evaluate()["cases"]["x"]["metrics"]["a"] == pytest.approx(expected)
    assert expected["ASD_voxel"] > 0.5  # as a volume, the shared inside would be border and pull this down


def test_png_images(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path, file_ending=".png")
    dataset.add("x", label_map(0, (20, 30)), label_map(1, (20, 30)))
    assert dataset.evaluate()["cases"]["x"]["metrics"]["a"]["n_ref"] == np.count_nonzero(label_map(0, (20, 30)) == 1)


def test_an_empty_prediction_is_counted_not_scored_zero(dataset: Dataset) -> None:
    dataset.add("x", label_map(0), label_map(1))
    dataset.add("y", label_map(2), np.zeros((6, 8, 10)))
    found = dataset.evaluate()["mean"]["a"]
    assert (found["HD95_voxel"]["n"], found["HD95_voxel"]["n_nan"]) == (1, 1)
    assert (found["Dice"]["n"], found["Dice"]["n_nan"]) == (2, 0)


@pytest.mark.slow
def test_workers_give_the_same_result(dataset: Dataset) -> None:
    for index in range(3):
        dataset.add(f"case_{index}", label_map(index), label_map(index + 1))
    assert dataset.evaluate(num_processes=2) == dataset.evaluate(num_processes=1)


def test_nnunets_other_files_are_left_alone(dataset: Dataset) -> None:
    dataset.add("x", label_map(0), label_map(1))
    for name in ("dataset.json", "plans.json", "predict_from_raw_data_args.json", "x.npz", "x.pkl", "._x.nii.gz"):
        (dataset.predictions / name).write_text("{}")
    assert list(dataset.evaluate()["cases"]) == ["x"]


def test_dataset_json_as_path_and_as_dictionary(dataset: Dataset) -> None:
    dataset.add("x", label_map(0), label_map(1))
    content = {"labels": {"background": 0, "both": [1, 2]}, "file_ending": ".nii.gz"}
    assert list(dataset.evaluate(dataset_json=content)["classes"]) == ["both"]
    assert dataset.evaluate(dataset_json=dataset.dataset_json)["cases"] == dataset.evaluate()["cases"]


def test_missing_predictions(dataset: Dataset) -> None:
    for index in range(7):
        dataset.write(dataset.labels, f"case_{index}", label_map(index))
    dataset.write(dataset.predictions, "case_3", label_map(0))
    with pytest.raises(UserError, match=r"6 of 7 label\(s\) .* case_4, case_5, … \(6 in total\)\. .*--chill"):
        dataset.evaluate()
    found = dataset.evaluate(allow_missing=True)
    assert list(found["cases"]) == ["case_3"]
    assert len(found["missing_predictions"]) == 6


def test_extra_predictions(dataset: Dataset) -> None:
    dataset.add("x", label_map(0), label_map(1))
    dataset.write(dataset.predictions, "y", label_map(0))
    with pytest.raises(UserError, match=r"1 prediction\(s\) .* have no label in .*: y\. "):
        dataset.evaluate(allow_missing=True)


def test_another_file_ending(dataset: Dataset) -> None:
    dataset.write(dataset.labels, "x", label_map(0))
    (dataset.predictions / "x.nrrd").touch()
    with pytest.raises(UserError, match=r"No file ending in \.nii\.gz .* which holds x\.nrrd"):
        dataset.evaluate()


@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        ({"spacing": (3.0, 1.0, 0.6)}, "spacing"),
        ({"origin": (0.0, 0.5, 0.0)}, "origin"),
        ({"direction": np.diag([-1.0, -1.0, 1.0]).ravel().tolist()}, "direction"),
    ],
)
def test_different_geometry(dataset: Dataset, geometry: dict, message: str) -> None:
    dataset.add("x", label_map(0), label_map(1), **geometry)
    with pytest.raises(UserError, match=rf"(?s)1 of 1 case.*Case 'x': the prediction's {message}.*Bring"):
        dataset.evaluate()
    found = dataset.evaluate(by_index=True)
    assert f"x: {message} of label and prediction differ" in found["remarks"][0]
    # As if the label had the prediction's header, which is its image's.
    dataset.write(dataset.labels, "x", label_map(0), **geometry)
    assert found["cases"] == dataset.evaluate()["cases"]


@pytest.mark.parametrize(
    ("label_off", "prediction_off", "refused"),
    [
        (True, False, None),
        (False, True, "The header of .*predictions/x.nii.gz differs from that of the image .*x_0000.nii.gz"),
        (True, True, "Bring the prediction to the grid of the raw image"),
    ],
)
def test_a_label_off_its_image_is_measured_only_if_the_prediction_fits(
    dataset: Dataset, label_off: bool, prediction_off: bool, refused: str | None
) -> None:
    reference, prediction = label_map(0), label_map(1)
    images = dataset.labels.with_name("imagesTr")
    images.mkdir()
    dataset.write(images, "x_0000", np.zeros(reference.shape))
    dataset.write(dataset.labels, "x", reference, origin=(5.0 * label_off, 0.0, 0.0))
    dataset.write(dataset.predictions, "x", prediction, origin=(0.0, 7.0 * prediction_off, 0.0))
    if refused:
        with pytest.raises(UserError, match=rf"(?s)Case 'x': the prediction's origin is .*{refused}"):
            dataset.evaluate()
        return
    found = dataset.evaluate()
    assert found["remarks"] == [
        "x: the origin in the label's header is not its image's; voxels were compared one by one"
    ]
    assert found["cases"]["x"]["metrics"]["a"] == mask_metrics(prediction == 1, reference == 1, SPACING)


def test_different_shape(dataset: Dataset) -> None:
    dataset.add("x", label_map(0), label_map(1)[1:])
    for by_index in (False, True):
        with pytest.raises(UserError, match=r"shape \(z, y, x\) is \(5, 8, 10\), the label's \(6, 8, 10\)"):
            dataset.evaluate(by_index=by_index)


def test_rounded_geometry_is_the_same(dataset: Dataset) -> None:
    dataset.add("x", label_map(0), label_map(1), spacing=(3.00001, 1.0, 0.5), origin=(1e-4, 0.0, -1e-4))
    assert dataset.evaluate()["num_cases"] == 1


def test_geometry_of_the_nibabel_reader(dataset: Dataset) -> None:
    dataset.add("x", label_map(0), label_map(1))
    content = {"labels": LABELS, "file_ending": ".nii.gz", "overwrite_image_reader_writer": "NibabelIO"}
    found, expected = dataset.evaluate(dataset_json=content)["cases"]["x"], dataset.evaluate()["cases"]["x"]
    assert found["metrics"]["b"] == pytest.approx(expected["metrics"]["b"])
    dataset.write(dataset.predictions, "x", label_map(1), origin=(0.0, 0.5, 0.0))
    with pytest.raises(UserError, match="prediction's origin"):
        dataset.evaluate(dataset_json=content)


def test_a_reader_that_reorients_compares_other_orientations(dataset: Dataset) -> None:
    dataset.add("x", label_map(0), label_map(1))
    reader = {"labels": LABELS, "file_ending": ".nii.gz", "overwrite_image_reader_writer": "NibabelIOWithReorient"}
    expected = dataset.evaluate(dataset_json=reader)["cases"]["x"]["metrics"]
    turned = sitk.DICOMOrient(sitk.ReadImage(str(dataset.labels / "x.nii.gz")), "RAS")
    sitk.WriteImage(turned, str(dataset.labels / "x.nii.gz"))
    assert dataset.evaluate(dataset_json=reader)["cases"]["x"]["metrics"] == expected
    with pytest.raises(UserError, match="prediction's affine"):
        dataset.evaluate(dataset_json={**reader, "overwrite_image_reader_writer": "NibabelIO"})


def test_unknown_labels(dataset: Dataset) -> None:
    dataset.add("x", label_map(0), label_map(1) * 5)
    with pytest.raises(UserError, match=r"2 unknown label value\(s\): 5, 10 .* knows \[0, 1, 2\]"):
        dataset.evaluate()


def test_the_ignore_label_is_unknown_in_a_prediction(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path, {**LABELS, "ignore": 3})
    dataset.add("x", label_map(0, classes=4), label_map(1, classes=4))
    with pytest.raises(UserError, match=r"predictions/x.nii.gz holds 1 unknown label value\(s\): 3"):
        dataset.evaluate()


@pytest.mark.parametrize("num_processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_problems_are_reported_together(dataset: Dataset, num_processes: int) -> None:
    for index in range(8):
        dataset.add(f"case_{index}", label_map(0), label_map(1)[1:])
    with pytest.raises(UserError, match="cannot be evaluated") as caught:
        dataset.evaluate(num_processes=num_processes)
    assert str(caught.value).count("shape") == 5


def test_a_damaged_file(dataset: Dataset) -> None:
    dataset.add("x", label_map(0), label_map(1))
    (dataset.predictions / "x.nii.gz").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"Cannot read .*predictions/x.nii.gz with SimpleITKIO"):
        dataset.evaluate()


def test_wrong_options(dataset: Dataset) -> None:
    with pytest.raises(UserError, match=r"resamples is 1, expected 2 or more"):
        dataset.evaluate(resamples=1)
    with pytest.raises(UserError, match=r"processes is 0, expected 1 or more"):
        dataset.evaluate(num_processes=0)
    with pytest.raises(UserError, match=r"Seed is -1, expected 0 or more"):
        dataset.evaluate(seed=-1)
    with pytest.raises(UserError, match=r"Predictions folder .*nowhere does not exist"):
        evaluate_folder(dataset.labels, dataset.predictions / "nowhere")


def test_a_place_where_nothing_can_be_written_is_named_before_the_work(dataset: Dataset, monkeypatch, capsys) -> None:
    dataset.add("x", label_map(0), label_map(1))
    (dataset.predictions / "file").touch()
    monkeypatch.setattr("nnunetv2_crln.evaluation.folder.evaluate_folder", None)
    with pytest.raises(SystemExit):
        evaluate_command(
            [str(dataset.labels), str(dataset.predictions), "-o", str(dataset.predictions / "file/x.json")]
        )
    assert "Cannot write" in capsys.readouterr().err


def test_dataset_json_is_found_beside_the_labels_first(tmp_path: Path) -> None:
    labels, predictions = tmp_path / "data" / "labelsTr", tmp_path / "predictions"
    labels.mkdir(parents=True)
    predictions.mkdir()
    with pytest.raises(UserError, match="-djfile"):
        find_dataset_json(labels, predictions)
    (predictions / "dataset.json").touch()
    assert find_dataset_json(labels, predictions) == predictions / "dataset.json"
    (labels.parent / "dataset.json").touch()
    assert find_dataset_json(labels, predictions) == labels.parent / "dataset.json"
