"""More damages, each met by the first command that can see it: names, headers, labels, hidden labels, evaluation."""

import codecs
import gzip
import json
import shutil
import unicodedata
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from damage import (
    FLIPPED,
    LABEL,
    LABELLED,
    NAME,
    UNLABELLED,
    contents,
    cut,
    cut_inside,
    dangling_link,
    entries,
    overwrite,
    put,
    re_search,
    refused,
    remove,
    rename,
    run,
    same,
    says_how_to_fix,
    training_refused,
    voxels,
)

from nnunetv2_crln.cli import hide_labels
from nnunetv2_crln.doctor.dataset import examine_dataset
from nnunetv2_crln.doctor.finding import OK
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.evaluation.folder import evaluate_folder
from nnunetv2_crln.raw_dataset.check_hidden_labels import verify_hidden_labels
from nnunetv2_crln.raw_dataset.check_labels import verify_labels
from nnunetv2_crln.raw_dataset.check_names import check_dataset

APPLE_DOUBLE = bytes.fromhex("00051607000200004d6163204f5320582020") + bytes(60)
COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Müller") for form in ("NFC", "NFD"))

# ------------------------------------------------------------------ ways to damage


def add(content: bytes = b"x"):
    """Write a file that was not there."""

    def damage(path: Path):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)

    return damage


def copy_of(source: str):
    """Copy another file of the dataset to this name."""

    def damage(path: Path):
        path.parent.mkdir(exist_ok=True)
        shutil.copyfile(path.parents[1 if path.parent.parent.name == NAME else 2] / source, path)

    return damage


def link_to_itself(path: Path):
    path.unlink()
    path.symlink_to(path.name)


def with_mark(mark: bytes, encoding: str):
    return lambda path: path.write_bytes(mark + path.read_text().encode(encoding))


def header(**fields):
    """Overwrite fields of a NIfTI header, voxels untouched."""

    def damage(path: Path):
        content = gzip.decompress(path.read_bytes())
        changed = nibabel.Nifti1Header(content[:348], check=False)
        for name, value in fields.items():
            changed[name] = value
        path.write_bytes(gzip.compress(changed.binaryblock + content[348:]))

    return damage


SHEARED = {"srow_x": [1, 0.1, 0, 0], "srow_y": [0, 1, 0, 0], "srow_z": [0, 0, 1, 0], "sform_code": 1, "qform_code": 0}
NAN_ORIGIN = {"srow_x": [-1, 0, 0, np.nan], "srow_y": [0, -1, 0, 0], "srow_z": [0, 0, 1, 0], "sform_code": 1}
NAN_AXIS = {**NAN_ORIGIN, "srow_x": [np.nan, 0, 0, 0]}


def moved(origin):
    def damage(path: Path):
        image = sitk.ReadImage(str(path))
        image.SetOrigin(origin)
        sitk.WriteImage(image, str(path))

    return damage


def to_name(source: str):
    """Move another file of the dataset to this name."""
    return lambda path: (path.parent / source).rename(path)


# ------------------------------------------------------------------ the damages: file, change, what the message says

REFUSED_NAMES = {
    "ending in capitals": ("imagesUl/p4_0000.NII.GZ", copy_of(UNLABELLED), "p4_0000.NII.GZ"),
    "DICOM": ("imagesUl/p5_0000.dcm", add(), "p5_0000.dcm"),
    "DICOM in capitals": ("imagesUl/P5.DCM", add(), "P5.DCM"),
    "MetaImage": ("imagesUl/p6_0000.mha", add(), "p6_0000.mha"),
    "NumPy": ("imagesUl/p6_0000.npz", add(), "p6_0000.npz"),
    "archive": ("imagesUl/more.zip", add(), "more.zip"),
    "folder of a patient": ("imagesUl/patient3/p3_0000.nii.gz", copy_of(UNLABELLED), "patient3/"),
    "three digits": ("imagesUl/p7_000.nii.gz", copy_of(UNLABELLED), "p7_000.nii.gz"),
    "five digits": ("imagesUl/p7_00000.nii.gz", copy_of(UNLABELLED), "p7_00000.nii.gz"),
    "image without channel number": ("imagesTr/lab_009.nii.gz", copy_of(LABELLED), "channel number: lab_009.nii.gz"),
    "companion of macOS": ("imagesTr/._lab_000_0000.nii.gz", add(APPLE_DOUBLE), r"\._lab_000_0000.*find .*-delete"),
    "hidden image": ("imagesTr/.lab_009_0000.nii.gz", copy_of(LABELLED), r"\.lab_009_0000.nii.gz"),
    "broken link to an image": (LABELLED, dangling_link, "broken link.*imagesTr/lab_000_0000.nii.gz → nowhere"),
    "broken link to a label": (LABEL, dangling_link, "broken link.*labelsTr/lab_000.nii.gz → nowhere"),
    "link to itself": (UNLABELLED, link_to_itself, "broken link.*imagesUl/unl_000_0000.nii.gz"),
    "label in capitals": (LABEL, rename("LAB_000.nii.gz"), "lab_000 .*'LAB_000.nii.gz' differs in upper and lower"),
    "label uncompressed": (LABEL, rename("lab_000.nii"), "lab_000"),
    "label with channel number": (LABEL, rename("lab_000_0000.nii.gz"), "without a label in labelsTr: lab_000"),
    "image of an unused format": (LABELLED, rename("lab_000_0000.nrrd"), r"lab_000_0000.nii.gz \(missing\)"),
    "imagesUl in lower case": ("imagesul", to_name("imagesUl"), "imagesUl does not exist .*'imagesul' differs"),
    "imagesTr under another name": ("images", to_name("imagesTr"), "imagesTr has no image"),
}
REFUSED_JSON = {
    "UTF-8 mark": (with_mark(codecs.BOM_UTF8, "utf-8"), r"dataset\.json .*byte order mark .*without"),
    "UTF-16": (with_mark(codecs.BOM_UTF16_LE, "utf-16-le"), r"dataset\.json .*byte order mark"),
    "comma too many": (overwrite(b'{"labels": {"background": 0},}'), r"dataset\.json is not valid JSON"),
    "comment": (overwrite(b'// mine\n{"labels": {}}'), r"dataset\.json is not valid JSON"),
    "broken link": (dangling_link, r"Cannot read .*dataset\.json"),
    "labels as text": (entries(labels={"background": 0, "a": "1"}), "'labels' is"),
    "no background": (entries(labels={"a": 1, "b": 2}), "'labels' is"),
    "one class less": (entries(labels={"background": 0, "a": 1}), r"has the value\(s\) 2, but dataset.json knows"),
    "reader that there is not": (entries(file_ending=".img"), "imagesTr"),
}
WARNED_NAMES = {
    "macOS folder settings": ("imagesUl/.DS_Store", add(), r"imagesUl/\.DS_Store.*find .*-delete"),
    "companion among the unlabelled": ("imagesUl/._unl_000_0000.nii.gz", add(APPLE_DOUBLE), r"imagesUl/\._unl_000"),
    "companion among the labels": ("labelsTr/._lab_000.nii.gz", add(APPLE_DOUBLE), r"labelsTr/\._lab_000.nii.gz"),
    "companion among the hidden labels": ("labelsUl/._unl_000.nii.gz", add(APPLE_DOUBLE), r"labelsUl/\._unl_000"),
    "companion among the test images": ("imagesTs/._tst_000_0000.nii.gz", add(APPLE_DOUBLE), r"imagesTs/\._tst"),
    "readme": ("imagesUl/README.txt", add(), "imagesUl holds .*README.txt"),
    "thumbnails": ("imagesTr/Thumbs.db", add(), "imagesTr holds .*Thumbs.db"),
    "other folder": ("imagesUl/notes/a.txt", add(), "imagesUl holds .*notes/"),
    "other format among the labelled": ("imagesTr/lab_007_0000.NII.GZ", add(), "imagesTr holds .*lab_007_0000.NII.GZ"),
    "folder among the labelled": ("imagesTr/p/lab_007_0000.nii.gz", copy_of(LABELLED), "imagesTr holds .*p/"),
    "label without an image": ("labelsTr/lab_007.nii.gz", copy_of(LABEL), "labelsTr holds .*lab_007.nii.gz"),
    "hidden label without an image": ("labelsUl/unl_007.nii.gz", copy_of(LABEL), "labelsUl holds .*unl_007.nii.gz"),
    "hidden label in capitals": ("labelsUl/UNL_000.nii.gz", copy_of(LABEL), "UNL_000.nii.gz .*upper and lower"),
    "hidden label with channel": ("labelsUl/unl_000_0000.nii.gz", copy_of(LABEL), "unl_000_0000.nii.gz"),
    "hidden label uncompressed": ("labelsUl/unl_000.nii", add(), "labelsUl holds .*unl_000.nii"),
    "hidden label as broken link": ("labelsUl/unl_000.nii.gz", dangling_link, "broken link.*unl_000.nii.gz"),
    "label of an unlabelled case": ("labelsTr/unl_000.nii.gz", copy_of(LABEL), "labels of 1 unlabelled case.*unl_000"),
    "test image in another format": ("imagesTs/tst_001.dcm", add(), "imagesTs holds .*tst_001.dcm"),
}
HEADERS = {
    "sheared image": (UNLABELLED, header(**SHEARED), "unl_000_0000.nii.gz .*not at right angles.*NibabelIO"),
    "sheared label": (LABEL, header(**SHEARED), "lab_000.nii.gz .*not at right angles"),
    "NaN in the origin": (UNLABELLED, header(**NAN_ORIGIN), "unl_000_0000.nii.gz.*NaN or infinity in srow_x"),
    "NaN in an axis": (UNLABELLED, header(**NAN_AXIS), "unl_000_0000.nii.gz"),
    "NaN in a label's origin": (LABEL, header(**NAN_ORIGIN), "lab_000.nii.gz.*NaN or infinity in srow_x"),
    "NaN in a label's axis": (LABEL, header(**NAN_AXIS), "lab_000.nii.gz.*NaN or infinity in srow_x"),
    "more voxels than there are": (UNLABELLED, header(dim=[3, 20, 20, 900, 1, 1, 1, 1]), "unl_000_0000.nii.gz cannot"),
    "unknown data type": (UNLABELLED, header(datatype=0), "unl_000_0000.nii.gz cannot be read"),
    "compressed twice": (UNLABELLED, lambda path: path.write_bytes(gzip.compress(path.read_bytes())), "unl_000_0000"),
    "not compressed": (UNLABELLED, lambda p: p.write_bytes(gzip.decompress(p.read_bytes())), "unl_000_0000.*not compr"),
    "pointer": (UNLABELLED, overwrite(b"version https://git-lfs.github.com/spec/v1\n"), "unl_000_0000.*git lfs pull"),
    "web page": (UNLABELLED, overwrite(b"<!DOCTYPE html><html>404</html>"), "unl_000_0000.*web page"),
    "lowest number as padding": (
        LABELLED,
        voxels(put(np.finfo(np.float32).min)),
        "too large .*lab_000_0000.nii.gz",
    ),
    "highest number": (
        UNLABELLED,
        voxels(put(np.finfo(np.float32).max)),
        "too large .*unl_000_0000.nii.gz",
    ),
}
LABELS_WITHOUT_THE_CHECK = {
    "0 and 255": (voxels(lambda a: (a > 0) * np.uint8(255)), "lab_000.nii.gz has the value.* 255.*divide it by 255"),
    "half a value": (voxels(put(0.5)), "lab_000.nii.gz has the value.* 0.5.*interpolation"),
    "a class too many": (voxels(put(3)), "lab_000.nii.gz has the value.* 3"),
    "negative": (voxels(put(-1)), "lab_000.nii.gz has the value.* -1"),
    "NaN": (voxels(put(np.nan)), "lab_000.nii.gz has NaN"),
    "another shape": (voxels(lambda a: a[1:]), "lab_000.nii.gz has .* voxels"),
    "cut": (cut(), "lab_000.nii.gz cannot be read"),
    "no image": (overwrite(b"junk"), "lab_000.nii.gz cannot be read"),
    "empty file": (overwrite(b""), "lab_000.nii.gz cannot be read .*empty"),
    "two values a voxel": (voxels(lambda a: np.stack([a] * 2, -1), vector=True), "lab_000.nii.gz"),
}
LABEL_HEADERS = {
    "another spacing": (voxels(same, spacing=2), "lab_000.nii.gz has the spacing"),
    "flipped": (voxels(same, direction=FLIPPED), "lab_000.nii.gz has another direction"),
    "NaN": (header(**NAN_ORIGIN), "lab_000.nii.gz.*NaN or infinity in srow_x"),
}
HIDDEN_LABELS = {
    "no image": (overwrite(b"junk"), "unl_000.nii.gz cannot be read"),
    "cut": (cut(), "unl_000.nii.gz cannot be read"),
    "voxels missing": (cut_inside, "unl_000.nii.gz cannot be read"),
    "another shape": (voxels(lambda a: a[1:]), "unl_000.nii.gz has .* voxels"),
    "0 and 255": (voxels(lambda a: (a > 0) * np.uint8(255)), "unl_000.nii.gz has the value.* 255"),
    "NaN": (voxels(put(np.nan)), "unl_000.nii.gz has NaN"),
    "flipped": (voxels(same, direction=FLIPPED), "unl_000.nii.gz has another direction"),
    "NaN in the header": (header(**NAN_ORIGIN), "unl_000.nii.gz.*NaN or infinity"),
}
PREDICTION, REFERENCE = "predictions/tst_000.nii.gz", "labelsTs/tst_000.nii.gz"
EVALUATION = {
    "prediction cut": (PREDICTION, cut(), "tst_000.nii.gz"),
    "prediction is no image": (PREDICTION, overwrite(b"junk"), "predictions/tst_000.nii.gz"),
    "prediction missing": (PREDICTION, remove, "have no prediction|No file ending"),
    "prediction in capitals": (PREDICTION, rename("TST_000.nii.gz"), "TST_000 .*'tst_000' differs in upper"),
    "prediction of another shape": (PREDICTION, voxels(lambda a: a[1:]), "prediction's shape"),
    "prediction of another spacing": (PREDICTION, voxels(same, spacing=2), "prediction's spacing"),
    "prediction moved": (PREDICTION, moved((5, 0, 0)), "origin .*predictions/tst_000.* differs.*--ignore_origin"),
    "prediction flipped": (PREDICTION, voxels(same, direction=FLIPPED), "direction .*predictions/tst_000"),
    "label flipped": (REFERENCE, voxels(same, direction=FLIPPED), "direction .*The header of .*labelsTs/tst_000"),
    "prediction with an unknown value": (PREDICTION, voxels(put(9)), "unknown label value.* 9"),
    "label of 0 and 255": (REFERENCE, voxels(lambda a: (a > 0) * np.uint8(255)), "unknown label value.* 255"),
    "label cut": (REFERENCE, cut(), "labelsTs/tst_000.nii.gz"),
    "label sheared": (REFERENCE, header(**SHEARED), "The header of .*labelsTs/tst_000.nii.gz differs"),
}
SOURCES = {
    "label cut": (LABEL, cut(), "lab_000.nii.gz"),
    "label of half a value": (LABEL, voxels(put(0.5)), "lab_000.nii.gz holds .*0.5"),
    "label of an unknown value": (LABEL, voxels(put(7)), r"lab_000.nii.gz holds the label value\(s\) \[7\]"),
    "label of another shape": (LABEL, voxels(lambda a: a[1:]), "lab_000.nii.gz has another voxel grid"),
    "label sheared": (LABEL, header(**SHEARED), "lab_000.nii.gz.*not at right angles.*NibabelIO"),
    "label flipped": (LABEL, voxels(same, direction=FLIPPED), "lab_000.nii.gz has another direction"),
    "label is a pointer": (LABEL, overwrite(b"version https://git-lfs.github.com/spec/v1\n"), "lab_000.*git lfs pull"),
    "label missing": (LABEL, remove, "lab_000"),
    "dataset.json with a mark": ("dataset.json", with_mark(codecs.BOM_UTF8, "utf-8"), "byte order mark"),
}
MORE_SPLITS = {
    "no validation case": (
        [{"train": ["lab_000", "lab_001"], "val": []}],
        "fold 0, has no validation.*fold 'all'",
    ),
    "no training case": ([{"train": [], "val": ["lab_000"]}], "fold 0, has no training case"),
    "text instead of a list": ([{"train": "lab_000", "val": ["lab_001"]}], "must be lists of names"),
    "in capitals": ([{"train": ["LAB_000"], "val": ["lab_001"]}], "LAB_000 .*'lab_000' differs in upper"),
}


# ------------------------------------------------------------------ the runs


def raw(root: Path) -> Path:
    return root / "raw" / NAME


@pytest.mark.parametrize("name", REFUSED_NAMES)
def test_names_that_are_refused(dataset, monkeypatch, capsys, name):
    file, damage, text = REFUSED_NAMES[name]
    damage(raw(dataset) / file)
    message = refused(monkeypatch, capsys, dataset)
    assert re_search(text, message) and says_how_to_fix(message, "Expected")


@pytest.mark.parametrize("name", REFUSED_JSON)
def test_dataset_json_that_is_refused(dataset, monkeypatch, capsys, name):
    damage, text = REFUSED_JSON[name]
    damage(raw(dataset) / "dataset.json")
    message = refused(monkeypatch, capsys, dataset, "--clean")
    assert re_search(text, message) and says_how_to_fix(message, "needs a", "save it")


@pytest.mark.parametrize("name", WARNED_NAMES)
def test_names_that_are_warned_of(dataset, name):
    file, damage, text = WARNED_NAMES[name]
    damage(raw(dataset) / file)
    before = contents(dataset)
    (warning,) = check_dataset(raw(dataset))
    assert re_search(text, warning) and says_how_to_fix(warning) and len(warning) < 1000
    assert contents(dataset) == before


@pytest.mark.parametrize("name", HEADERS)
def test_headers_and_contents(dataset, monkeypatch, capsys, name):
    file, damage, text = HEADERS[name]
    damage(raw(dataset) / file)
    message = refused(monkeypatch, capsys, dataset, "--verify_dataset_integrity")
    assert re_search(text, message) and says_how_to_fix(message)


@pytest.mark.parametrize("name", LABELS_WITHOUT_THE_CHECK)
def test_labels_without_the_check(dataset, monkeypatch, capsys, name):
    damage, text = LABELS_WITHOUT_THE_CHECK[name]
    damage(raw(dataset) / LABEL)
    message = refused(monkeypatch, capsys, dataset)
    assert re_search(text, message) and says_how_to_fix(message)


@pytest.mark.parametrize("name", LABEL_HEADERS)
def test_headers_of_labels_without_the_check(dataset, name):
    damage, text = LABEL_HEADERS[name]
    damage(raw(dataset) / LABEL)
    (warning,) = verify_labels(raw(dataset), show_progress=False, strict=False)
    assert re_search(text, warning) and "Check them in a viewer" in warning and len(warning) < 1000
    with pytest.raises(UserError):
        verify_labels(raw(dataset), show_progress=False)


@pytest.mark.parametrize("flags", [(), ("--verify_dataset_integrity",)])
def test_labels_without_foreground(dataset, monkeypatch, capsys, flags):
    for path in (raw(dataset) / "labelsTr").iterdir():
        voxels(np.zeros_like)(path)
    message = refused(monkeypatch, capsys, dataset, *flags)
    assert re_search("None of the labels in .*labelsTr has foreground.*class_1, class_2", message)


@pytest.mark.parametrize("name", HIDDEN_LABELS)
def test_hidden_labels(dataset, name):
    damage, text = HIDDEN_LABELS[name]
    damage(raw(dataset) / "labelsUl" / "unl_000.nii.gz")
    before = contents(dataset)
    (warning,) = verify_hidden_labels(raw(dataset), show_progress=False)
    assert re_search(text, warning) and says_how_to_fix(warning) and len(warning) < 1000
    assert contents(dataset) == before


@pytest.mark.parametrize("name", EVALUATION)
def test_evaluation(dataset, name):
    shutil.copytree(raw(dataset) / "labelsTs", raw(dataset) / "predictions")
    file, damage, text = EVALUATION[name]
    damage(raw(dataset) / file)
    before = contents(dataset)
    with pytest.raises(UserError) as caught:
        evaluate_folder(raw(dataset) / "labelsTs", raw(dataset) / "predictions", num_processes=1, show_progress=False)
    assert re_search(text, str(caught.value)) and len(str(caught.value)) < 1000
    assert contents(dataset) == before


def test_a_label_off_its_image_is_measured_and_named(dataset):
    folder = raw(dataset)
    shutil.copytree(folder / "labelsTs", folder / "predictions")
    moved((7, 8, 9))(folder / REFERENCE)
    found = evaluate_folder(folder / "labelsTs", folder / "predictions", num_processes=1, show_progress=False)
    assert found["foreground_mean"]["Dice"]["mean"] == 1
    assert len(found["remarks"]) == 1 and "tst_000: the origin in the label's header" in found["remarks"][0]


def test_without_an_image_the_origin_is_ignored_on_demand_alone(dataset):
    folder = raw(dataset)
    shutil.copytree(folder / "labelsTs", folder / "predictions")
    moved((7, 8, 9))(folder / REFERENCE)
    shutil.rmtree(folder / "imagesTs")
    arguments = (folder / "labelsTs", folder / "predictions")
    with pytest.raises(UserError, match="--ignore_origin"):
        evaluate_folder(*arguments, num_processes=1, show_progress=False)
    found = evaluate_folder(*arguments, num_processes=1, show_progress=False, ignore_origin=True)
    assert found["foreground_mean"]["Dice"]["mean"] == 1 and found["remarks"]


@pytest.mark.parametrize("name", SOURCES)
def test_sources_of_a_conversion(dataset, capsys, name):
    file, damage, text = SOURCES[name]
    damage(raw(dataset) / file)
    before = contents(dataset)
    with pytest.raises(SystemExit) as caught:
        hide_labels.main(["-d", "999", "-o", "998", "--num_labelled", "1", "-np", "1"])
    message = capsys.readouterr().err
    assert caught.value.code == 2 and "Traceback" not in message
    assert re_search(text, message) and says_how_to_fix(message, "Download", "Add")
    assert contents(dataset) == before


def test_a_draw_without_foreground_is_refused(dataset, capsys):
    for path in (raw(dataset) / "labelsTr").iterdir():
        voxels(np.zeros_like)(path)
    with pytest.raises(SystemExit):
        hide_labels.main(["-d", "999", "-o", "998", "--num_labelled", "1", "-np", "1"])
    assert re_search("None of the chosen labelled cases .*has foreground.*--seed", capsys.readouterr().err)


@pytest.mark.parametrize("name", MORE_SPLITS)
def test_splits(dataset, name):
    split, text = MORE_SPLITS[name]
    (dataset / "preprocessed" / NAME / "splits_final.json").write_text(json.dumps(split))
    message = training_refused(dataset, 0)
    assert "splits_final.json" in message and re_search(text, message) and len(message) < 1000


def test_a_fold_that_the_file_lacks(dataset):
    split = [{"train": ["lab_000"], "val": ["lab_001"]}, {"train": ["lab_001"], "val": ["lab_000"]}]
    (dataset / "preprocessed" / NAME / "splits_final.json").write_text(json.dumps(split))
    message = training_refused(dataset, 4)
    assert "splits_final.json has the folds 0 to 1, not fold 4" in message and "fold 'all'" in message


def test_names_in_two_unicode_forms(dataset, monkeypatch, capsys):
    for channel in ("0000", "0001"):
        image = raw(dataset) / f"imagesTr/lab_000_{channel}.nii.gz"
        image.rename(image.with_name(f"{COMPOSED}_{channel}.nii.gz"))
    rename(f"{DECOMPOSED}.nii.gz")(raw(dataset) / LABEL)
    message = refused(monkeypatch, capsys, dataset)
    assert re_search("another Unicode form", message) and "rename one" in message


DOCTOR = {
    "unreadable image": (UNLABELLED, overwrite(b"junk"), "unl_000_0000.nii.gz cannot be read"),
    "wrong label": (LABEL, voxels(put(7)), "lab_000.nii.gz has the value"),
    "wrong hidden label": ("labelsUl/unl_000.nii.gz", overwrite(b"junk"), "unl_000.nii.gz cannot be read"),
    "companion of macOS": ("imagesTr/._lab_000_0000.nii.gz", add(APPLE_DOUBLE), "find .*-delete"),
    "folder": ("imagesUl/p/p_0000.nii.gz", copy_of(UNLABELLED), "p/"),
    "dataset.json with a mark": ("dataset.json", with_mark(codecs.BOM_UTF8, "utf-8"), "byte order mark"),
}


@pytest.mark.parametrize("name", DOCTOR)
def test_the_doctor_tells(dataset, name):
    file, damage, text = DOCTOR[name]
    damage(raw(dataset) / file)
    before = contents(dataset)
    findings = [finding for finding in examine_dataset(999) if finding.state != OK]
    assert [finding for finding in findings if re_search(text, finding.found)]
    assert not [finding for finding in findings if "Repair the package" in finding.fix]
    assert contents(dataset) == before


def test_a_bad_unlabelled_image_stops_no_other_and_a_repaired_dataset_works(dataset, monkeypatch, capsys):
    whole = (raw(dataset) / UNLABELLED).read_bytes()
    (raw(dataset) / UNLABELLED).write_bytes(b"junk")
    (raw(dataset) / "labelsUl" / "unl_001.nii.gz").write_bytes(b"junk")
    with pytest.raises(SystemExit):
        run(monkeypatch)
    assert re_search(r"1 case\(s\) could not be preprocessed: unl_000_0000.nii.gz", capsys.readouterr().err)
    assert sorted(path.name for path in dataset.glob("preprocessed/*/*_unlabelled/*.pkl")) == ["unl_001.pkl"]
    (raw(dataset) / UNLABELLED).write_bytes(whole)
    run(monkeypatch, "--verify_dataset_integrity")
    assert "labelsUl has 1 wrong label(s)" in capsys.readouterr().err
    assert len(list(dataset.glob("preprocessed/*/*_unlabelled/*.pkl"))) == 2
