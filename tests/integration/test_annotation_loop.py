"""Scans come into a dataset and labels follow, while plans, folds and preprocessed cases stay."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from commands import TRAINERS, locked_by_another_process
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from opened_files import none_opened
from synthetic import make_case, write_image
from tiny_training import DATASET, NAME, train_epochs

from nnunetv2_crln.annotation_loop.volume_predictor import VolumePredictor
from nnunetv2_crln.cli import add_labels, add_unlabelled, pseudo_label, rank
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import ADDED_FILE, PSEUDO_LABELS_FILE, RAW_LOCK, SPLITS_FILE
from nnunetv2_crln.raw_dataset.check_labels import verify_labels
from nnunetv2_crln.utilities.json_files import read_json, write_json

QUICK = ["-d", str(DATASET), "-np", "1", "--no_pbar"]
SHAPE = (20, 20, 20)


@pytest.fixture
def dataset(preprocessed, tmp_path, monkeypatch):
    """Copy the preprocessed dataset for one test."""
    for name in ("raw", "preprocessed"):
        shutil.copytree(getattr(preprocessed, name), tmp_path / name)
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    return SimpleNamespace(raw=tmp_path / "raw" / NAME, preprocessed=tmp_path / "preprocessed" / NAME)


@pytest.fixture
def scans(tmp_path):
    """Make a folder with two scans in different formats."""
    folder = tmp_path / "scans"
    for seed, name in enumerate(("one.nii.gz", "sub/two.mha"), start=50):
        write_image(make_case(np.random.default_rng(seed), SHAPE)[0][0], folder / name)
    return folder


def cases_in(folder):
    return sorted(nnUNetDatasetBlosc2.get_identifiers(str(folder)))


def state(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()}


def test_scans_are_linked_or_converted_and_preprocessed_alone(dataset, scans, capsys):
    plans = (dataset.preprocessed / "nnUNetPlans.json").read_bytes()
    ready = state(dataset.preprocessed / "nnUNetPlans_3d_fullres_unlabelled")
    add_unlabelled.command([*QUICK, str(scans)])
    images = dataset.raw / "imagesUl"
    assert (images / "one_0000.nii.gz").resolve() == (scans / "one.nii.gz").resolve()
    converted = images / "sub_two_0000.nii.gz"
    assert converted.is_file() and not converted.is_symlink()
    original = sitk.GetArrayFromImage(sitk.ReadImage(str(scans / "sub" / "two.mha")))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(converted))), original)
    for configuration in ("3d_fullres", "2d"):
        folder = dataset.preprocessed / f"nnUNetPlans_{configuration}_unlabelled"
        assert cases_in(folder) == ["one", "sub_two", "unl_000", "unl_001", "unl_002"]
    after = state(dataset.preprocessed / "nnUNetPlans_3d_fullres_unlabelled")
    assert {name: after[name] for name in ready} == ready
    assert (dataset.preprocessed / "nnUNetPlans.json").read_bytes() == plans
    assert "2 scan(s) added" in capsys.readouterr().out

    # A second run finds everything in place.
    before = state(images)
    add_unlabelled.command([*QUICK, str(scans)])
    assert state(images) == before
    output = capsys.readouterr().out
    assert "0 scan(s) added" in output and "one" in output and "the same voxels as imagesUl/one" in output
    assert len((dataset.raw / ADDED_FILE).read_text(encoding="utf-8").splitlines()) == 5


def test_what_must_not_come_in_is_refused_and_the_rest_is_added(dataset, scans, capsys):
    for source, name in (("imagesTr/lab_000", "renamed"), ("imagesTs/tst_000", "test_again")):
        image = sitk.ReadImage(str(dataset.raw / f"{source}_0000.nii.gz"))
        sitk.WriteImage(sitk.Cast(image, sitk.sitkFloat64), str(scans / f"{name}.nrrd"))
    write_image(make_case(np.random.default_rng(60), SHAPE)[0][0], scans / "unl_000.nii.gz")
    write_image(np.full(SHAPE, np.nan, np.float32), scans / "broken.nrrd")
    write_image(np.ones(SHAPE, np.float32), scans / "constant.nrrd")
    write_image(np.zeros((4, 4), np.float32), scans / "flat.nrrd", (1, 1))
    write_image(make_case(np.random.default_rng(61), SHAPE)[0][0], scans / "metres.nrrd", (1e-3,) * 3)
    (scans / "garbage.mha").write_bytes(b"garbage")
    kept = state(dataset.raw / "imagesUl")
    with pytest.raises(UserError, match=r"8 of 10 scan\(s\) were not added") as error:
        add_unlabelled.command([*QUICK, "--no_pp", str(scans)])
    output = capsys.readouterr().out
    for text in (
        "the same voxels as imagesTr/lab_000",
        "the same voxels as imagesTs/tst_000",
        "imagesUl/unl_000 has this name and other voxels; give new names with --prefix",
        "all its voxels are equal",
        "times off that of every labelled scan",
        "Cannot read",
    ):
        assert text in output
    assert "same command again" in str(error.value)
    after = state(dataset.raw / "imagesUl")
    assert set(after) - set(kept) == {"one_0000.nii.gz", "sub_two_0000.nii.gz"}
    assert {name: after[name] for name in kept} == kept
    assert not [path for path in dataset.raw.iterdir() if path.name.startswith(".crln_incoming")]


def test_a_dry_run_writes_nothing(dataset, scans, capsys):
    before = sorted(path.name for path in dataset.raw.rglob("*"))
    add_unlabelled.command([*QUICK, "--dry_run", str(scans)])
    assert "2 scan(s) would be added" in capsys.readouterr().out
    known = {".crln_image_digests.json", RAW_LOCK}
    assert sorted(p.name for p in dataset.raw.rglob("*") if p.name not in known) == before


def test_one_command_at_a_time_changes_a_dataset(dataset, scans):
    message = "is being changed by another command"
    with locked_by_another_process(dataset.raw / RAW_LOCK), pytest.raises(UserError, match=message):
        add_unlabelled.command([*QUICK, str(scans)])


@pytest.fixture
def labels(dataset, tmp_path):
    """True labels of two unlabelled cases, and a split to keep."""
    folder = tmp_path / "annotated"
    folder.mkdir()
    for case in ("unl_000", "unl_002"):
        shutil.copy(dataset.raw / "labelsUl" / f"{case}.nii.gz", folder)
    write_json([{"train": ["lab_000", "lab_001"], "val": ["lab_002"]}], dataset.preprocessed / SPLITS_FILE)
    return folder


def test_annotated_cases_become_labelled_ones(dataset, labels, preprocessed):
    plans = (dataset.preprocessed / "nnUNetPlans.json").read_bytes()
    ready = state(dataset.preprocessed / "nnUNetPlans_3d_fullres")
    add_labels.command([*QUICK, str(labels)])
    assert sorted(path.name for path in (dataset.raw / "imagesUl").iterdir()) == ["unl_001_0000.nii.gz"]
    assert (dataset.raw / "labelsTr" / "unl_002.nii.gz").read_bytes() == (labels / "unl_002.nii.gz").read_bytes()
    assert read_json(dataset.raw / "dataset.json")["numTraining"] == 5
    assert read_json(dataset.preprocessed / "dataset.json")["numTraining"] == 5
    assert read_json(dataset.preprocessed / SPLITS_FILE) == [
        {"train": ["lab_000", "lab_001", "unl_000", "unl_002"], "val": ["lab_002"]}
    ]
    assert (dataset.preprocessed / "nnUNetPlans.json").read_bytes() == plans
    assert (dataset.preprocessed / "gt_segmentations" / "unl_000.nii.gz").is_file()
    for configuration in ("3d_fullres", "2d"):
        folder = dataset.preprocessed / f"nnUNetPlans_{configuration}"
        assert cases_in(folder) == ["lab_000", "lab_001", "lab_002", "unl_000", "unl_002"]
        assert cases_in(folder.with_name(f"{folder.name}_unlabelled")) == ["unl_001"]
    after = state(dataset.preprocessed / "nnUNetPlans_3d_fullres")
    assert {name: after[name] for name in ready} == ready
    properties = nnUNetDatasetBlosc2(str(dataset.preprocessed / "nnUNetPlans_3d_fullres")).load_case("unl_000")[3]
    assert len(properties["class_locations"][1])

    # Run again: nothing left to do, and no harm done.
    add_labels.command([*QUICK, str(labels)])
    assert state(dataset.preprocessed / "nnUNetPlans_3d_fullres") == after


def test_an_interrupted_run_is_continued(dataset, labels, monkeypatch):
    monkeypatch.setattr(
        "nnunetv2_crln.annotation_loop.add_labels._count_again", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        add_labels.command([*QUICK, str(labels)])
    assert read_json(dataset.raw / "dataset.json")["numTraining"] == 3
    monkeypatch.undo()
    for name in ("raw", "preprocessed"):
        monkeypatch.setenv(f"nnUNet_{name}", str(getattr(dataset, name).parent))
    monkeypatch.setenv("nnUNet_results", str(labels))
    add_labels.command([*QUICK, "--no_pp", str(labels)])
    assert read_json(dataset.raw / "dataset.json")["numTraining"] == 5
    assert "unl_002" in json.dumps(read_json(dataset.preprocessed / SPLITS_FILE))


def test_cases_that_cannot_be_preprocessed_join_no_fold(dataset, labels, monkeypatch):
    splits = (dataset.preprocessed / SPLITS_FILE).read_bytes()
    monkeypatch.setattr(
        "nnunetv2_crln.annotation_loop.add_labels._update_preprocessed",
        lambda *_: (_ for _ in ()).throw(UserError("1 labelled case(s) could not be preprocessed")),
    )
    with pytest.raises(UserError, match="could not be preprocessed"):
        add_labels.command([*QUICK, str(labels)])
    assert (dataset.preprocessed / SPLITS_FILE).read_bytes() == splits


def test_new_cases_do_not_join_data_of_another_spacing(dataset, labels):
    """As after planning again for another configuration, which leaves these data as they are."""
    plans = dataset.preprocessed / "nnUNetPlans.json"
    content = read_json(plans)
    content["configurations"]["3d_fullres"]["spacing"] = [2.0, 2.0, 2.0]
    write_json(content, plans)
    before = state(dataset.preprocessed / "nnUNetPlans_3d_fullres")
    with pytest.raises(UserError, match=r"was not preprocessed with the present nnUNetPlans.*nnUNetv2_preprocess"):
        add_labels.command([*QUICK, str(labels)])
    assert state(dataset.preprocessed / "nnUNetPlans_3d_fullres") == before
    (dataset.preprocessed / "nnUNetPlans_3d_fullres" / ".DS_Store").touch()
    add_labels.command([*QUICK, "--no_pp", str(labels)])  # nothing joins those data
    assert (dataset.raw / "labelsTr" / "unl_000.nii.gz").is_file()


def test_chosen_cases_alone_are_moved(dataset, labels, capsys):
    add_labels.command([*QUICK, "--no_pp", "--cases", "unl_002", "--", str(labels)])
    assert "They are not preprocessed yet" in (output := capsys.readouterr().out) and "nnUNetv2_train" not in output
    assert (dataset.raw / "imagesTr" / "unl_002_0000.nii.gz").is_file()
    assert (dataset.raw / "imagesUl" / "unl_000_0000.nii.gz").is_file()


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda folder: write_image(np.full(SHAPE, 7, np.uint8), folder / "unl_000.nii.gz"), r"has the value\(s\) 7"),
        (lambda folder: write_image(np.zeros((9, 9, 9), np.uint8), folder / "unl_000.nii.gz"), "voxels, its image"),
        (lambda folder: write_image(np.zeros(SHAPE, np.uint8), folder / "who.nii.gz"), r"who \(not in imagesUl\)"),
        (lambda folder: write_image(np.zeros(SHAPE, np.uint8), folder / "lab_000.nii.gz"), "with another label"),
        (lambda folder: write_image(np.zeros(SHAPE, np.uint8), folder / "unl_001.nrrd"), "does not end in .nii.gz"),
    ],
)
def test_one_wrong_label_changes_nothing(dataset, labels, spoil, text):
    spoil(labels)
    before = {path: path.stat().st_mtime_ns for path in dataset.raw.rglob("*.nii.gz")}
    with pytest.raises(UserError, match=text):
        add_labels.command([*QUICK, str(labels)])
    assert {path: path.stat().st_mtime_ns for path in dataset.raw.rglob("*.nii.gz")} == before


@pytest.fixture
def model(trainer_of, dataset, monkeypatch):
    """A model that was trained for an epoch, and the flags to use it quickly."""
    trainer = trainer_of(epochs=1, monitor_every=0, overlay_every=0, quality_cases=0)
    train_epochs(trainer, 1)
    trainer.save_checkpoint(f"{trainer.output_folder}/checkpoint_final.pth")
    for name in ("raw", "preprocessed"):
        monkeypatch.setenv(f"nnUNet_{name}", str(getattr(dataset, name).parent))
    monkeypatch.setenv("nnUNet_extTrainer", TRAINERS)
    return [trainer.output_folder_base, "-device", "cpu", "--disable_tta", "--no_pbar"]


def test_scans_are_ranked_and_an_interrupted_run_continues(model, dataset, tmp_path, monkeypatch):
    output = tmp_path / "ranking.csv"
    predict, predicted = VolumePredictor.__call__, []

    def interrupted(self, case):
        if len(predicted) == 2:
            raise KeyboardInterrupt
        predicted.append(case)
        return predict(self, case)

    monkeypatch.setattr(VolumePredictor, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rank.command([*model, "-o", str(output)])
    assert not output.exists()
    predicted.clear()
    with none_opened(dataset.raw / "labelsUl"):
        rank.command([*model, "-o", str(output)])
    assert len(predicted) == 1
    header, *rows = (line.split(",") for line in output.read_text(encoding="utf-8").splitlines())
    assert header[:5] == ["rank", "case", "uncertainty", "novelty", "most_like"]
    assert header[5:] == ["expected Dice class_1", "ml class_1", "expected Dice class_2", "ml class_2"]
    assert sorted(row[1] for row in rows) == ["unl_000", "unl_001", "unl_002"]
    assert all(0 <= float(row[2]) <= 1 for row in rows)
    page = output.with_suffix(".html").read_text(encoding="utf-8")
    assert page.count("data:image/png") == 3


def test_pseudo_labels_become_a_stock_dataset(model, dataset, labels):
    dataset_json = read_json(dataset.raw / "dataset.json")
    write_json({**dataset_json, "crln": {"annotated_labels": {"lab_001": ["class_1"]}}}, dataset.raw / "dataset.json")
    with none_opened(dataset.raw / "labelsUl"):
        pseudo_label.command([*model, "-d", "777", "--keep", "0.67", "--confidence", "0.4"])
    folder = dataset.raw.with_name("Dataset777_SyntheticPseudo")
    content = read_json(folder / "dataset.json")
    accepted = content["crln"]["pseudo_labelled_cases"]
    assert len(accepted) == 2 and content["numTraining"] == 5
    assert content["labels"] == {"background": 0, "class_1": 1, "class_2": 2, "ignore": 3}
    verify_labels(folder, show_progress=False)
    true = (dataset.raw / "labelsTr" / "lab_000.nii.gz").read_bytes()
    assert (folder / "labelsTr" / "lab_000.nii.gz").read_bytes() == true
    partly, source = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(root / "labelsTr" / "lab_001.nii.gz")))
        for root in (folder, dataset.raw)
    )
    assert (partly == np.where(source == 0, 3, source)).all()
    table = (folder / PSEUDO_LABELS_FILE).read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[1] for line in table] == ["accepted", "yes", "yes", "no"]
    shares = {line.split(",")[0]: float(line.split(",")[3]) for line in table[1:]}
    for case in accepted:
        voxels = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "labelsTr" / f"{case}.nii.gz")))
        assert (voxels == 3).mean() == pytest.approx(shares[case], abs=1e-4)
    split = read_json(dataset.preprocessed.parent / folder.name / SPLITS_FILE)
    assert split == [{"train": ["lab_000", "lab_001", *accepted], "val": ["lab_002"]}]
    assert not list(dataset.raw.parent.glob(".Dataset777*"))
    with pytest.raises(UserError, match="exists already"):
        pseudo_label.command([*model, "-d", "777"])


def test_a_renamed_model_keeps_its_configuration(model, tmp_path):
    folder = Path(model[0]).rename(tmp_path / "best model")
    rank.command([str(folder), *model[1:], "-o", str(tmp_path / "ranking.csv")])
    assert (tmp_path / "ranking.csv").is_file()


def test_scans_copied_by_hand_are_named_and_replaced_ones_refused(model, dataset, tmp_path, capsys):
    images, output = dataset.raw / "imagesUl", tmp_path / "ranking.csv"
    shutil.copyfile(images / "unl_001_0000.nii.gz", images / "by_hand_0000.nii.gz")
    rank.command([*model, "-o", str(output)])
    message = capsys.readouterr().err
    assert "are not preprocessed for 3d_fullres" in message and "by_hand" in message and "--unlabelled_only" in message
    assert "by_hand" not in output.read_text(encoding="utf-8")
    shutil.copyfile(images / "unl_001_0000.nii.gz", images / "unl_000_0000.nii.gz")
    for command, arguments in ((rank, ["-o", str(output)]), (pseudo_label, ["-d", "777"])):
        with pytest.raises(UserError, match=r"another size or date .*: unl_000\. .*--unlabelled_only"):
            command.command([*model, *arguments])


def test_a_gate_that_accepts_nothing_and_other_bad_input(model, dataset, tmp_path):
    with pytest.raises(UserError, match="accepts none"):
        pseudo_label.command([*model, "-d", "777", "--keep", "0.01"])
    with pytest.raises(UserError, match=r"no checkpoint_final.pth for fold\(s\) 3"):
        rank.command([*model, "-f", "3", "-o", str(tmp_path / "x.csv")])
    with pytest.raises(UserError, match=r"ending in \.csv"):
        rank.command([*model, "-o", str(tmp_path / "ranking")])
    path = dataset.raw / "dataset.json"
    content = read_json(path)
    write_json({key: value for key, value in content.items() if key != "file_ending"}, path)
    with pytest.raises(UserError, match="has no file_ending"):
        pseudo_label.command([*model, "-d", "777"])
    write_json(content, path)
    next((dataset.preprocessed / "nnUNetPlans_3d_fullres_unlabelled").glob("*.pkl")).unlink()
    with pytest.raises(UserError, match=r"1 not at all\. Run: nnUNetv2_crln_plan_and_preprocess -d 990"):
        rank.command([*model, "-o", str(tmp_path / "x.csv")])
