"""The plan of a dataset with hidden labels: what it takes over from the dataset.json of its source."""

import json

import pytest

from nnunetv2_crln.dataset_conversion.common.roles import Role
from nnunetv2_crln.dataset_conversion.hide_labels.plan import LabelChoice, make_plan
from nnunetv2_crln.errors import UserError


@pytest.fixture
def source(make_dataset):
    return make_dataset(dataset_id=4, name="Source", labelled=4, unlabelled=2, shape=(4, 4, 4))


def edit(source, **changes):
    path = source / "dataset.json"
    content = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def record_of(tmp_path, shown):
    """Return the "crln" block of the planned dataset."""
    (tmp_path / "shown.txt").write_text("\n".join(shown))
    return make_plan(4, 104, LabelChoice(labelled_cases=tmp_path / "shown.txt")).dataset_json["crln"]


def test_partly_annotated_cases_stay_so(source, tmp_path):
    entry = {"lab_000": ["class_1"], "lab_001": ["class_2"], "lab_00[3-9]": ["class_1"]}
    edit(source, crln={"annotated_labels": entry, "source": "older"})
    record = record_of(tmp_path, ["lab_000", "lab_002", "lab_003"])
    assert record["annotated_labels"] == {"lab_000": ["class_1"], "lab_00[3-9]": ["class_1"]}
    assert record["source"] == source.name
    assert "annotated_labels" not in record_of(tmp_path, ["lab_002"])


def test_incomplete_labels_are_neither_hidden_truth_nor_test_labels(source, tmp_path):
    edit(source, crln={"annotated_labels": {"lab_001": ["class_2"]}})
    for name, cases in (("shown", ["lab_000"]), ("test", ["lab_001"])):
        (tmp_path / f"{name}.txt").write_text("\n".join(cases))
    plan = make_plan(4, 104, LabelChoice(labelled_cases=tmp_path / "shown.txt"))
    hidden = {case.name: case.label for case in plan.of(Role.UNLABELLED)}
    assert hidden["lab_001"] is None and hidden["lab_002"]
    with pytest.raises(UserError, match=r"1 test case\(s\) lack classes.*lab_001.*--test_cases"):
        make_plan(4, 104, LabelChoice(labelled_cases=tmp_path / "shown.txt", test_cases=tmp_path / "test.txt"))


def test_no_complete_case_is_refused_at_once(source, tmp_path):
    edit(source, crln={"annotated_labels": {"lab_000": ["class_1"]}})
    with pytest.raises(UserError, match=r"None of the chosen labelled cases \(lab_000\) has all classes annotated"):
        record_of(tmp_path, ["lab_000"])


def test_groups_with_unlabelled_cases_are_kept(source, tmp_path):
    edit(source, crln={"unlabelled_groups": {"old": "unl_*", "former": "lab_003", "none": "lab_000"}})
    record = record_of(tmp_path, ["lab_000"])
    assert record["unlabelled_groups"] == {"old": "unl_*", "former": "lab_003"}


def test_malformed_groups_are_refused(source, tmp_path):
    edit(source, crln={"unlabelled_groups": ["unl_*"]})
    with pytest.raises(UserError, match="expected a pattern of case names by group"):
        record_of(tmp_path, ["lab_000"])


def test_a_case_that_comes_into_two_groups_is_named(source, tmp_path):
    edit(source, crln={"unlabelled_groups": {"one": "*_001", "two": "lab_*"}})
    with pytest.raises(UserError, match="puts lab_001 into 'one' and into 'two'"):
        record_of(tmp_path, ["lab_000"])


def test_a_dataset_of_version_1_is_sent_to_its_converter(source, tmp_path):
    edit(source, file_ending=None, channel_names=None, modality={"0": "MRI"}, labels={"0": "background", "1": "a"})
    with pytest.raises(UserError, match=r"has no file_ending.*nnUNetv2_convert_old_nnUNet_dataset"):
        record_of(tmp_path, ["lab_000"])


@pytest.mark.parametrize("seed", range(6))
def test_labelled_cases_are_drawn_from_those_that_are_no_test_cases(source, tmp_path, seed):
    (tmp_path / "test.txt").write_text("lab_000\nlab_002")
    plan = make_plan(4, 104, LabelChoice(num_labelled=1, test_cases=tmp_path / "test.txt", seed=seed))
    (shown,) = plan.of(Role.LABELLED)
    assert shown.name in ("lab_001", "lab_003") and plan.dataset_json["crln"]["labelled_cases"] == [shown.name]
    assert {case.name for case in plan.of(Role.TEST)} >= {"lab_000", "lab_002"}


def break_link(path):
    path.unlink()
    path.symlink_to("gone.nii.gz")


def list_two_files_of_one_case(folder):
    images = {f"lab_00{case}": f"imagesTr/lab_00{case}_000{{}}.nii.gz" for case in range(4)}
    listed = {
        case: {"images": [file.format(0), file.format(1)], "label": f"labelsTr/{case}.nii.gz"}
        for case, file in images.items()
    }
    listed["lab_002"]["images"].pop()
    edit(folder, dataset=listed)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        *(
            (lambda folder, file=file: break_link(folder / file), rf"1 broken link\(s\): {file} → gone.nii.gz")
            for file in (
                "imagesTr/lab_001_0000.nii.gz",
                "labelsTr/lab_001.nii.gz",
                "imagesUl/unl_001_0000.nii.gz",
                "labelsUl/unl_001.nii.gz",
                "imagesTs/tst_000_0000.nii.gz",
                "labelsTs/tst_000.nii.gz",
            )
        ),
        *(
            (lambda folder, file=file: (folder / file).unlink(), rf"exactly 2 channel file.*{file[9:]} \(missing\)")
            for file in (
                "imagesTr/lab_001_0001.nii.gz",
                "imagesTr/lab_001_0000.nii.gz",
                "imagesUl/unl_001_0001.nii.gz",
                "imagesTs/tst_000_0000.nii.gz",
            )
        ),
        *(
            (lambda folder, place=place: (folder / f"{place}/new.nii.gz").touch(), "1 file.*without a channel number")
            for place in ("imagesTr", "imagesUl", "imagesTs")
        ),
        *(
            (lambda folder, place=place: (folder / f"{place}/new.mha").touch(), r"in another format than .*new\.mha")
            for place in ("imagesUl", "imagesTs")
        ),
        *(
            (
                lambda folder, label=label, name=name: (folder / label).rename((folder / label).with_name(name)),
                rf"1 file\(s\) that are no image's label: {name}",
            )
            for label, name in (
                ("labelsTs/tst_000.nii.gz", "tst_000.mha"),
                ("labelsTs/tst_000.nii.gz", "tst_000_0000.nii.gz"),
                ("labelsUl/unl_001.nii.gz", "unl_001.nrrd"),
            )
        ),
        (lambda folder: edit(folder, numTraining=5), "numTraining 5, but there are 4 labelled cases"),
        (list_two_files_of_one_case, "does not list exactly 2 channel.*lab_002"),
    ],
)
def test_no_case_or_file_is_silently_left_out(make_dataset, damage, message):
    folder = make_dataset(dataset_id=4, name="Source", labelled=4, unlabelled=2, channels=2, shape=(4, 4, 4))
    make_plan(4, 104, LabelChoice(num_labelled=1))
    damage(folder)
    with pytest.raises(UserError, match=message):
        make_plan(4, 104, LabelChoice(num_labelled=1))
