"""The dataset with pseudo labels, made with a model that knows the answer."""

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import torch
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunetv2_crln.annotation_loop import write_pseudo_labels as writing
from nnunetv2_crln.annotation_loop.volume_predictor import ModelChoice, VolumePrediction
from nnunetv2_crln.annotation_loop.write_pseudo_labels import Gate, write_dataset, write_pseudo_labels
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import dataset_number
from nnunetv2_crln.preprocessed_dataset.unlabelled_status import UnlabelledStatus
from nnunetv2_crln.raw_dataset.cases import find_unlabelled_cases, source_record
from nnunetv2_crln.raw_dataset.check_labels import verify_labels
from nnunetv2_crln.raw_dataset.folders import find_dataset

SPACING = [3.0, 0.5, 0.5]
LABELS = np.arange(5 * 6 * 7).reshape(5, 6, 7) % 2


def write_tiff_dataset(raw, labelled=2):
    """Write some labelled and two unlabelled cases as 3D TIFF, with their spacing in JSON files."""
    folder = raw / "Dataset005_Source"
    cases = [f"lab_{i}" for i in range(labelled)]
    files = [(f"imagesTr/{case}", "_0000") for case in cases] + [(f"labelsTr/{case}", "") for case in cases]
    for index, (name, channel) in enumerate([*files, ("imagesUl/unl_0", "_0000"), ("imagesUl/unl_1", "_0000")]):
        path = folder / f"{name}{channel}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        voxels = LABELS.astype(np.uint8) if "labels" in name else LABELS.astype(np.float32) * index
        tifffile.imwrite(path, voxels, photometric="minisblack")
        (folder / f"{name}.json").write_text(json.dumps({"spacing": SPACING}))
    content = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "a": 1}, "numTraining": labelled}
    (folder / "dataset.json").write_text(json.dumps({**content, "file_ending": ".tif"}))
    return folder


@pytest.fixture
def tiff_dataset(nnunet_folders):
    return write_tiff_dataset(nnunet_folders.raw)


class KnowingPredictor:
    """A predictor that is sure of the true labels."""

    trained = "3d_fullres"

    def __init__(self, choice):
        number = int(dataset_number(choice.model.name))
        self.folders, self.model, self.cases = find_dataset(number), choice.model, ["unl_0", "unl_1"]
        files = find_unlabelled_cases(self.folders.raw)
        made_from = {case: source_record(files[case]) for case in self.cases if case in files}
        self.status = UnlabelledStatus(ready=self.cases, stale=[], missing=[], made_from=made_from)
        self.dataset_json = json.loads((self.folders.raw / "dataset.json").read_text(encoding="utf-8"))
        self.label_manager = LabelManager(self.dataset_json["labels"], None)
        self.plans_manager = SimpleNamespace(image_reader_writer_class=Tiff3DIO, plans={})
        self.configuration = self.trained

    def record(self, case):
        return {"case": case}

    def __call__(self, case):
        logits = 30.0 * torch.from_numpy(np.stack([1 - LABELS, LABELS]))
        properties = {"spacing": SPACING, "shape_after_cropping_and_before_resampling": LABELS.shape}
        return VolumePrediction(case, np.zeros((1, *LABELS.shape)), logits, properties, np.zeros(1))

    def in_original_space(self, prediction):
        return LABELS, torch.softmax(prediction.logits, 0).numpy()


class DoubtingPredictor(KnowingPredictor):
    """A predictor that is not sure of the first slice of one case."""

    def __call__(self, case):
        found = super().__call__(case)
        if case == "unl_0":
            found.logits[:, 0] /= 30
        return found


@pytest.fixture
def doubting(monkeypatch):
    monkeypatch.setattr(writing, "VolumePredictor", DoubtingPredictor)


@pytest.mark.usefixtures("doubting")
def test_the_surest_cases_are_kept(tiff_dataset):
    written = write_pseudo_labels(ModelChoice(tiff_dataset), 6, Gate(keep=0.5), show_progress=False)
    assert (written.accepted, written.rejected) == (["unl_1"], ["unl_0"])
    kept = {path.stem for path in (written.folder / "labelsTr").glob("*.tif")}
    assert kept == {"lab_0", "lab_1", "unl_1"}


@pytest.mark.usefixtures("doubting")
@pytest.mark.parametrize(("confidence", "doubtful"), [(0.95, 1), (0.6, 0)])
def test_voxels_below_the_confidence_get_the_ignore_label(tiff_dataset, confidence, doubtful):
    gate = Gate(keep=1, confidence=confidence)
    written = write_pseudo_labels(ModelChoice(tiff_dataset), 6, gate, show_progress=False)
    expected = LABELS.copy()
    expected[:doubtful] = json.loads((written.folder / "dataset.json").read_text())["labels"]["ignore"]
    for case, labels in (("unl_0", expected), ("unl_1", LABELS)):
        voxels, _ = Tiff3DIO().read_seg(str(written.folder / "labelsTr" / f"{case}.tif"))
        np.testing.assert_array_equal(voxels[0], labels)


def test_no_fold_validates_on_a_pseudo_label(nnunet_folders, monkeypatch):
    monkeypatch.setattr(writing, "VolumePredictor", KnowingPredictor)
    dataset = write_tiff_dataset(nnunet_folders.raw, labelled=5)
    written = write_pseudo_labels(ModelChoice(dataset), 6, Gate(keep=1), show_progress=False)
    folds = json.loads((written.folder / "splits_final.json").read_text())
    labelled = {f"lab_{i}" for i in range(5)}
    assert len(folds) == 5 and sorted(case for fold in folds for case in fold["val"]) == sorted(labelled)
    for fold in folds:
        assert set(fold["train"]) == labelled - set(fold["val"]) | {"unl_0", "unl_1"}


def test_labels_of_a_tiff_dataset_have_their_spacing(tiff_dataset, monkeypatch):
    monkeypatch.setattr(writing, "VolumePredictor", KnowingPredictor)
    written = write_pseudo_labels(ModelChoice(tiff_dataset), 6, Gate(keep=1), show_progress=False)
    assert sorted(written.accepted) == ["unl_0", "unl_1"]
    labels = written.folder / "labelsTr"
    assert sorted(path.name for path in labels.iterdir()) == sorted(
        f"{case}{ending}" for case in ("lab_0", "lab_1", "unl_0", "unl_1") for ending in (".json", ".tif")
    )
    voxels, properties = Tiff3DIO().read_seg(str(labels / "unl_1.tif"))
    assert properties["spacing"] == SPACING and (voxels[0] == LABELS).all()
    verify_labels(written.folder, show_progress=False)
    assert not list(tiff_dataset.parent.glob(".Dataset*"))


def test_images_that_are_gone_are_named_before_anything_is_predicted(tiff_dataset, monkeypatch):
    monkeypatch.setattr(writing, "VolumePredictor", KnowingPredictor)
    monkeypatch.setattr(KnowingPredictor, "__call__", lambda *_: pytest.fail("predicted"))
    (tiff_dataset / "imagesUl" / "unl_1_0000.tif").unlink()
    command = "nnUNetv2_crln_plan_and_preprocess -d 005 -c 3d_fullres .*--unlabelled_only"
    with pytest.raises(UserError, match=rf"lacks the images of 1 preprocessed case\(s\): unl_1\..*{command}"):
        write_pseudo_labels(ModelChoice(tiff_dataset), 6, Gate(keep=1), show_progress=False)
    assert [path.name for path in tiff_dataset.parent.iterdir()] == [tiff_dataset.name]


def replaced(images):
    path = images / "unl_1_0000.tif"
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(1, 1))


def respaced(images):
    (images / "unl_1.json").write_text(json.dumps({"spacing": [2.0, 2.0, 2.0]}))


@pytest.mark.parametrize("change", [replaced, respaced])
def test_an_image_that_was_replaced_since_it_was_preprocessed_is_refused(tiff_dataset, monkeypatch, change):
    class EarlierPredictor(KnowingPredictor):
        def __init__(self, choice):
            super().__init__(choice)
            change(tiff_dataset / "imagesUl")

    monkeypatch.setattr(writing, "VolumePredictor", EarlierPredictor)
    monkeypatch.setattr(KnowingPredictor, "__call__", lambda *_: pytest.fail("predicted"))
    command = "nnUNetv2_crln_plan_and_preprocess -d 005 -c 3d_fullres .*--unlabelled_only"
    with pytest.raises(UserError, match=rf"1 case\(s\) whose files have another size or date .*: unl_1\. .*{command}"):
        write_pseudo_labels(ModelChoice(tiff_dataset), 6, Gate(keep=1), show_progress=False)
    assert [path.name for path in tiff_dataset.parent.iterdir()] == [tiff_dataset.name]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {"background": 0, "a": 2}}, r"a: 1 → 2\. .*train again"),
        ({"labels": {"background": 0, "a": 1, "b": 2}}, "b: none → 2"),
        ({"labels": {"background": 0, "a": 1, "ignore": 2}}, "ignore: none → 2"),
        ({"file_ending": ".nrrd"}, r"file_ending: \.tif → \.nrrd"),
    ],
)
def test_another_dataset_json_than_that_of_the_model_is_refused(tiff_dataset, monkeypatch, changes, message):
    trained = json.loads((tiff_dataset / "dataset.json").read_text(encoding="utf-8"))
    (tiff_dataset / "dataset.json").write_text(json.dumps({**trained, **changes}))

    class FormerPredictor(KnowingPredictor):
        def __init__(self, choice):
            super().__init__(choice)
            self.dataset_json = trained

    monkeypatch.setattr(writing, "VolumePredictor", FormerPredictor)
    monkeypatch.setattr(FormerPredictor, "__call__", lambda *_: pytest.fail("predicted"))
    with pytest.raises(UserError, match=message):
        write_pseudo_labels(ModelChoice(tiff_dataset), 6, Gate(keep=1), show_progress=False)
    assert [path.name for path in tiff_dataset.parent.iterdir()] == [tiff_dataset.name]


def test_a_long_number_is_no_part_of_the_new_name(tiff_dataset, monkeypatch):
    monkeypatch.setattr(writing, "VolumePredictor", KnowingPredictor)
    source = tiff_dataset.rename(tiff_dataset.with_name("Dataset1042_Heart"))
    written = write_pseudo_labels(ModelChoice(source), 6, Gate(keep=1), show_progress=False)
    assert written.folder.name == "Dataset006_HeartPseudo"


@pytest.mark.parametrize("name", ["Dataset1042_Heart", "Dataset104_Heart.v2", "Dataset104_Hjärta"])
def test_in_a_folder_of_its_own_a_dataset_may_have_any_name(tiff_dataset, tmp_path, name):
    """nnU-Net accepts names that we would not give; a comparison must not end with them after days of training."""
    source = tiff_dataset.rename(tiff_dataset.with_name(name))
    target = tmp_path / "recipe" / name
    target.parent.mkdir()
    written = write_dataset(KnowingPredictor(ModelChoice(source)), target, Gate(keep=1), show_progress=False)
    assert written.folder == target and (target / "dataset.json").is_file()


@pytest.mark.parametrize(("trained", "advised"), [("2d", "2d"), ("3d_article", "3d_fullres")])
def test_the_next_training_is_one_that_nnunet_plans(tiff_dataset, monkeypatch, trained, advised):
    monkeypatch.setattr(KnowingPredictor, "trained", trained)
    monkeypatch.setattr(writing, "VolumePredictor", KnowingPredictor)
    written = write_pseudo_labels(ModelChoice(tiff_dataset), 6, Gate(keep=1), show_progress=False)
    assert written.configuration == advised
