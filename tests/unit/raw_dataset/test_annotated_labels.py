"""Cases in which only some classes are annotated, as dataset.json says it, and what their labels must not hold."""

import json

import pytest
import SimpleITK as sitk
from synthetic import write_image

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.raw_dataset.annotated_labels import annotated_labels
from nnunetv2_crln.raw_dataset.check_labels import verify_labels
from nnunetv2_crln.raw_dataset.check_names import check_dataset

LABELS = {"background": 0, "liver": 1, "spleen": [2], "kidney": 3, "ignore": 4}
CASES = ["a_1", "a_2", "b_1", "b_2"]


def read(entry, labels=None, cases=CASES):
    return annotated_labels({"labels": labels or LABELS, "crln": {"annotated_labels": entry}}, cases)


def test_cases_and_patterns_of_names():
    found = read({"a_*": ["liver"], "b_1": ["spleen", "kidney"]})
    assert found == {"a_1": {1}, "a_2": {1}, "b_1": {2, 3}}


def test_the_name_of_a_case_overrules_a_pattern_wherever_it_stands():
    for entry in ({"a_1": ["kidney"], "a_*": ["liver"]}, {"a_*": ["liver"], "a_1": ["kidney"]}):
        assert read(entry) == {"a_1": {3}, "a_2": {1}}


def test_complete_cases_are_not_partly_annotated():
    assert read({"a_1": ["kidney", "liver", "spleen"]}) == {}
    assert annotated_labels({"labels": LABELS}, CASES) == {}
    assert annotated_labels({"labels": LABELS, "crln": {"labelled_cases": CASES}}, CASES) == {}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"a_1": ["livre"]}, "names the class 'livre'.*Did you mean liver"),
        ({"a1": ["liver"]}, "names 'a1', but no labelled case has this name.*Did you mean a_1"),
        ({"c_*": ["liver"]}, "names 'c_"),
        ({"a_1": []}, "'a_1' is empty.*imagesUl"),
        ({"a_1": ["ignore"]}, "names the class 'ignore'"),
        ({"a_1": ["background"]}, "names the class 'background'"),
        ({"a_1": "liver"}, "expected lists of class names"),
        (["a_1"], "expected lists of class names"),
        ({"a_*": ["liver"], "*_1": ["spleen"]}, "different things about a_1: by 'a_\\*' and by '\\*_1'"),
        ({"*": ["liver"]}, "no case in which all classes are annotated"),
    ],
)
def test_what_makes_no_sense_is_refused(entry, message):
    with pytest.raises(UserError, match=message):
        read(entry)


def test_a_training_passes_over_cases_that_are_not_preprocessed():
    content = {"labels": LABELS, "crln": {"annotated_labels": {"new": ["liver"], "n_*": ["liver"], "a_1": ["liver"]}}}
    assert annotated_labels(content, CASES, may_be_absent=True) == {"a_1": {1}}


def test_regions_are_refused():
    with pytest.raises(UserError, match="region-based labels \\(whole\\)"):
        read({"a_1": ["core"]}, {"background": 0, "whole": [1, 2], "core": 2})


def announce(folder, **annotated):
    path = folder / "dataset.json"
    content = {**json.loads(path.read_text(encoding="utf-8")), "crln": {"annotated_labels": annotated}}
    path.write_text(json.dumps(content))


def test_a_case_that_holds_a_class_it_does_not_claim_is_named(make_dataset):
    folder = make_dataset()
    announce(folder, lab_001=["class_1"])
    with pytest.raises(
        UserError, match=r'lab_001\.nii\.gz has voxels of class_2, but "annotated_labels".*class_1 alone'
    ):
        verify_labels(folder, show_progress=False)
    file = folder / "labelsTr" / "lab_001.nii.gz"
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
    write_image(labels * (labels == 1), file)
    assert verify_labels(folder, show_progress=False) == []


def test_partly_annotated_cases_make_imagesul_optional(make_dataset):
    folder = make_dataset(unlabelled=0)
    with pytest.raises(UserError, match="imagesUl"):
        check_dataset(folder)
    announce(folder, lab_001=["class_1"])
    assert check_dataset(folder) == []
    announce(folder, lab_0001=["class_1"])
    with pytest.raises(UserError, match="Did you mean lab_001"):
        check_dataset(folder)
