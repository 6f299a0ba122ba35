"""File names of a raw dataset: every complaint, and what its message says."""

import json
import shutil

import pytest

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.raw_dataset.check_names import check_dataset


def edit(folder, **changes):
    """Change entries of dataset.json; None removes one."""
    path = folder / "dataset.json"
    content = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def test_sound_names_have_no_complaints(make_dataset):
    assert check_dataset(make_dataset()) == []


def test_the_number_of_labelled_cases_must_be_that_in_dataset_json(make_dataset):
    folder = make_dataset()
    edit(folder, numTraining=5)
    with pytest.raises(UserError, match=r"numTraining 5, but there are 3 labelled cases.*set it to 3"):
        check_dataset(folder)


@pytest.mark.parametrize("order", [None, [1], "1, 2"])
def test_regions_need_an_order(make_dataset, order):
    folder = make_dataset()
    edit(folder, labels={"background": 0, "whole": [1, 2], "core": 2}, regions_class_order=order)
    with pytest.raises(UserError, match=r"'regions_class_order' is .* 2 regions whole, core\..*Add or correct"):
        check_dataset(folder)


def listed(**changes):
    """The entry "dataset" for all labelled cases; `changes` go into the first one."""
    names = [f"lab_{index:03d}" for index in range(3)]
    cases = {name: {"images": [f"imagesTr/{name}_0000.nii.gz"], "label": f"labelsTr/{name}.nii.gz"} for name in names}
    cases[names[0]] |= changes
    return cases


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": []}, "case 'lab_000' of 'dataset' is .*expected"),
        ({"images": [1]}, "case 'lab_000' of 'dataset' is .*expected"),
        ({"label": None}, "case 'lab_000' of 'dataset' is .*expected"),
        ({"images": ["imagesTr/nope.nii.gz"]}, "lists 1 image.* do not exist: .*nope.nii.gz. Correct these paths"),
    ],
)
def test_cases_that_dataset_json_lists(make_dataset, changes, message):
    folder = make_dataset()
    edit(folder, dataset=listed())
    assert check_dataset(folder) == []
    edit(folder, dataset=listed(**changes))
    with pytest.raises(UserError, match=message):
        check_dataset(folder)


def test_an_ignore_label_makes_imagesul_optional(make_dataset):
    folder = make_dataset(unlabelled=0)
    content = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    content["labels"]["ignore"] = 3
    (folder / "dataset.json").write_text(json.dumps(content))
    assert check_dataset(folder) == []


def test_no_unlabelled_folder_says_how_to_make_one_and_what_works_without(make_dataset):
    folder = make_dataset(unlabelled=0)
    with pytest.raises(UserError, match=r"imagesUl does not exist.*CASE_0000\.nii\.gz.*nnUNetv2_plan_and_preprocess"):
        check_dataset(folder)
    with pytest.raises(UserError, match=r"nnUNetv2_crln_hide_labels -d 999 -o NEW_ID --num_labelled N\. "):
        check_dataset(folder)


def test_empty_unlabelled_folder(make_dataset):
    folder = make_dataset(unlabelled=0)
    (folder / "imagesUl").mkdir()
    with pytest.raises(UserError, match="imagesUl has no image ending with"):
        check_dataset(folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("scan.nii.gz", r"without a channel number: scan\.nii\.gz.*for example scan\.nii\.gz to scan_0000\.nii\.gz"),
        ("scan_0000.nrrd", r"another format than .*scan_0000\.nrrd"),
        ("unl_001_0001.nii.gz", r"1 channel file\(s\) per case.*unl_001_0001\.nii\.gz \(too many\)"),
        ("scan_0001.nii.gz", r"scan_0000\.nii\.gz \(missing\), scan_0001\.nii\.gz \(too many\)"),
    ],
)
def test_names_in_unlabelled_folder(make_dataset, name, message):
    folder = make_dataset()
    (folder / "imagesUl" / name).touch()
    with pytest.raises(UserError, match=message):
        check_dataset(folder)


def test_missing_channels_list_five_and_the_total(make_dataset):
    folder = make_dataset(channels=2, unlabelled=7)
    for file in (folder / "imagesUl").glob("*_0001.nii.gz"):
        file.unlink()
    with pytest.raises(UserError, match=r"unl_004_0001\.nii\.gz \(missing\), … \(7 in total\)"):
        check_dataset(folder)


def test_all_channels_in_one_file_as_in_the_labelled_cases(make_dataset):
    folder = make_dataset()
    edit(folder, channel_names={"0": "R", "1": "G", "2": "B"})
    assert check_dataset(folder) == []


@pytest.mark.parametrize(("other", "case"), [("imagesTr", "lab_001"), ("imagesTs", "tst_000")])
def test_same_case_in_two_folders(make_dataset, other, case):
    folder = make_dataset()
    shutil.copy(folder / other / f"{case}_0000.nii.gz", folder / "imagesUl")
    with pytest.raises(UserError, match=f"both imagesUl and {other} .*: {case}"):
        check_dataset(folder)


def test_labelled_case_without_label(make_dataset):
    folder = make_dataset()
    (folder / "labelsTr" / "lab_002.nii.gz").unlink()
    with pytest.raises(UserError, match=r"without a label in labelsTr: lab_002\. Move .* to imagesUl"):
        check_dataset(folder)


def test_no_labelled_case(make_dataset):
    folder = make_dataset()
    shutil.rmtree(folder / "imagesTr")
    with pytest.raises(UserError, match="CRLN needs labelled cases too"):
        check_dataset(folder)


def test_hidden_label_among_training_labels_is_a_warning(make_dataset):
    folder = make_dataset()
    shutil.copy(folder / "labelsUl" / "unl_000.nii.gz", folder / "labelsTr")
    assert [warning for warning in check_dataset(folder) if "unl_000" in warning and "labelsUl" in warning]


@pytest.mark.parametrize(("images", "labels"), [("imagesTr", "labelsTr"), ("imagesUl", "labelsUl")])
def test_the_ending_of_nnunets_masks_is_refused(make_dataset, images, labels):
    folder = make_dataset()
    case = "lab_000" if images == "imagesTr" else "unl_000"
    (folder / images / f"{case}_0000.nii.gz").rename(folder / images / "p_seg_0000.nii.gz")
    (folder / labels / f"{case}.nii.gz").rename(folder / labels / "p_seg.nii.gz")
    with pytest.raises(UserError, match=rf"names end in _seg: {images}/p_seg\. nnU-Net reserves this ending.*Rename"):
        check_dataset(folder)
