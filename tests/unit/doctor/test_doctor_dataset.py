"""The doctor's findings on a dataset."""

import json
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from nnunetv2_crln.doctor import dataset as dataset_checks
from nnunetv2_crln.doctor.dataset import _damaged_files, _domain_shift, _split, examine_dataset
from nnunetv2_crln.doctor.finding import OK, PROBLEM, WARNING, Finding
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.preprocessed_dataset import image_changes, labelled_status
from nnunetv2_crln.preprocessed_dataset.plans import CONFIGURATION_KEYS
from nnunetv2_crln.raw_dataset.folders import find_dataset


def test_a_dataset_with_a_leak(make_dataset):
    folder = make_dataset()
    test_image = next((folder / "imagesTs").iterdir())
    (folder / "imagesUl" / "copied_0000.nii.gz").write_bytes(test_image.read_bytes())
    found = examine_dataset(999)
    (leak,) = [finding for finding in found if finding.name == "same image"]
    assert leak.state == PROBLEM and "imagesUl/copied" in leak.found
    (plans,) = [finding for finding in found if finding.name == "plans"]
    assert plans.fix == "nnUNetv2_crln_plan_and_preprocess -d 999"


@pytest.mark.parametrize(("spacing", "state"), [(1.0, OK), (3.0, WARNING)])
def test_unlabelled_cases_far_from_the_labelled_ones_are_named(make_dataset, nnunet_folders, spacing, state):
    raw = make_dataset()
    rng = np.random.default_rng(0)
    for suffix, of_case in (("", 1.0), ("_unlabelled", spacing)):
        folder = nnunet_folders.preprocessed / raw.name / f"nnUNetPlans_3d_fullres{suffix}"
        folder.mkdir(parents=True)
        for number in range(4):
            image = rng.normal(size=(1, 8, 8, 8)).astype(np.float32)
            properties = {"spacing": [1, 1, of_case], "shape_after_cropping_and_before_resampling": [8, 8, 8]}
            sizes = dict.fromkeys(("chunks", "blocks", "chunks_seg", "blocks_seg"), image.shape)
            mask = np.zeros(image.shape, np.int16)
            nnUNetDatasetBlosc2.save_case(image, mask, properties, str(folder / f"c{suffix}_{number}"), **sizes)
    assert not list(_domain_shift(find_dataset(999), 1))  # without plans the order of the axes is unknown
    plans = {
        "dataset_name": raw.name,
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [2, 0, 1],
        "configurations": {"3d_fullres": {"data_identifier": "nnUNetPlans_3d_fullres"}},
    }
    (nnunet_folders.preprocessed / raw.name / "nnUNetPlans.json").write_text(json.dumps(plans))
    (nnunet_folders.preprocessed / raw.name / "splits_final.json").write_text("[]")
    (finding,) = _domain_shift(find_dataset(999), 1)
    assert finding.state == state
    assert finding.name == "domain shift" and ("spacing of axis 0 in mm 3, labelled 1" in finding.found) == (
        spacing > 1
    )


def test_an_unknown_dataset_is_a_finding(nnunet_folders):
    (finding,) = examine_dataset(123)
    assert finding.state == PROBLEM


def test_equal_findings_of_two_configurations_are_two(make_dataset, monkeypatch):
    make_dataset()
    same = [
        Finding(PROBLEM, f"nnUNetPlans {name}", "unlabelled cases are not preprocessed", f"command -c {name}")
        for name in ("2d", "3d_fullres")
    ]
    ready = [Finding(OK, f"nnUNetPlans {name}", "5 unlabelled cases ready") for name in ("2d", "3d_fullres")]
    error = UserError("labels of dataset.json are wrong")

    def check(*_):
        yield from [*same, *ready]
        raise error

    def other_check(*_):
        raise error
        yield

    monkeypatch.setattr(dataset_checks, "_preprocessed", check)
    monkeypatch.setattr(dataset_checks, "_split", other_check)
    found = examine_dataset(999)
    assert [finding for finding in found if finding in same + ready] == same + ready
    assert [finding.found for finding in found].count(str(error)) == 1


def test_data_that_trainings_refuse_are_a_problem(make_dataset, monkeypatch):
    refusal = UserError("was not preprocessed with the present plans")

    def refuse(*_):
        raise refusal

    monkeypatch.setattr(labelled_status, "require_labelled_data", refuse)
    folder = make_dataset()
    data = folder / "nnUNetPlans_3d_fullres"
    data.mkdir()
    (data / "a.b2nd").touch()
    entry = SimpleNamespace(configuration={}, data_identifier=data.name)
    manager = SimpleNamespace(dataset_name=folder.name, get_configuration=lambda _: entry)
    finding = dataset_checks._configuration(folder, manager, "3d_fullres", "nnUNetPlans")
    assert finding.state == PROBLEM and finding.found == str(refusal)


ABSENT = object()


def plans_of(name, **entries):
    """Plans of a 3D configuration with some more entries."""
    configuration = {
        **dict.fromkeys(CONFIGURATION_KEYS),
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [8, 8, 8],
        "spacing": [1.0, 1.0, 1.0],
        "architecture": {},
        **entries,
    }
    configuration = {key: value for key, value in configuration.items() if value is not ABSENT}
    return {
        "dataset_name": name,
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration},
    }


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"CRLN": {"seed": 1}}, "has the entry 'CRLN'"),
        ({"short_schedule": {"num_epochs": -1}}, "num_epochs is -1"),
        ({"crln": {"sed": 1}}, "unknown key 'sed'"),
        ({"batch_size": 0}, "batch_size of '3d_fullres' is 0"),
        ({"architecture": ABSENT}, "has no architecture"),
    ],
)
def test_mistakes_in_a_configuration_are_a_problem(make_dataset, nnunet_folders, entries, message):
    folder = nnunet_folders.preprocessed / make_dataset().name
    folder.mkdir()
    (folder / "nnUNetPlans.json").write_text(json.dumps(plans_of(folder.name, **entries)))
    (finding,) = dataset_checks._preprocessed(find_dataset(999), 1)
    assert finding.state == PROBLEM and message in finding.found and "nnUNetPlans" in finding.name


def test_scans_that_nobody_has_preprocessed_are_a_problem(make_dataset, nnunet_folders, monkeypatch):
    monkeypatch.setattr(image_changes, "changes_since_preprocessing", lambda *_: ["by_hand is not preprocessed"])
    name = make_dataset().name
    (nnunet_folders.preprocessed / name).mkdir()
    plans = plans_of(name)
    found = list(dataset_checks._plans(find_dataset(999), plans, "nnUNetPlans"))
    assert Finding(PROBLEM, "nnUNetPlans 3d_fullres", "by_hand is not preprocessed") in found


def no_labelled_images(folder):
    for path in (folder / "imagesTr").iterdir():
        path.unlink()


def no_file_ending(folder):
    content = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    del content["file_ending"]
    (folder / "dataset.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "text"),
    [(no_labelled_images, "imagesTr has no image named CASE_0000.nii.gz"), (no_file_ending, "file_ending")],
)
def test_a_mistake_in_the_dataset_is_not_one_of_the_installation(make_dataset, damage, text):
    damage(make_dataset())
    (finding,) = examine_dataset(999)
    assert finding.state == PROBLEM and text in finding.found
    assert "KeyError" not in finding.found and "Repair the package" not in finding.fix


def test_cases_that_no_fold_uses_are_named(make_dataset, nnunet_folders):
    name = make_dataset(labelled=3).name
    (nnunet_folders.preprocessed / name).mkdir()
    split = [{"train": ["lab_000"], "val": ["lab_001"]}]
    (nnunet_folders.preprocessed / name / "splits_final.json").write_text(json.dumps(split))
    (finding,) = _split(find_dataset(999), 1)
    assert finding.state == WARNING and "every fold, leaves out 1 of 3 labelled case(s): lab_002." in finding.found


def test_a_fold_that_validates_on_its_training_cases_is_named(make_dataset, nnunet_folders):
    name = make_dataset().name
    (nnunet_folders.preprocessed / name).mkdir()
    split = [{"train": ["lab_000", "lab_001"], "val": ["lab_001", "lab_002"]}]
    (nnunet_folders.preprocessed / name / "splits_final.json").write_text(json.dumps(split))
    (finding,) = _split(find_dataset(999), 1)
    assert finding.state == WARNING and "fold 0, has 1 case(s) both in 'train' and in 'val': lab_001." in finding.found


@pytest.mark.parametrize("kept", [0, 20, -1])
@pytest.mark.parametrize("name", ["b.b2nd", "b_seg.b2nd", "b.pkl"])
@pytest.mark.parametrize("place", ["nnUNetPlans_2d", "nnUNetPlans_2d_unlabelled"])
def test_truncated_preprocessed_files_are_found(tmp_path, place, name, kept):
    class Plans:
        dataset_name = "Dataset999_Synthetic"

        def get_configuration(self, _):
            return SimpleNamespace(data_identifier="nnUNetPlans_2d")

    array = np.random.default_rng(0).normal(size=(1, 8, 16, 16)).astype(np.float32)
    for folder in ("nnUNetPlans_2d", "nnUNetPlans_2d_unlabelled"):
        (tmp_path / folder).mkdir()
        for case in ("a", "b"):
            nnUNetDatasetBlosc2.save_case(array, array.astype(np.int16), {}, str(tmp_path / folder / case))
    dump = pickle.dumps({"spacing": [1.0] * 50})
    (tmp_path / place / "b.pkl").write_bytes(dump)
    assert not list(_damaged_files(tmp_path, Plans(), "2d", "nnUNetPlans"))
    file = tmp_path / place / name
    file.write_bytes(file.read_bytes()[:kept])
    (finding,) = _damaged_files(tmp_path, Plans(), "2d", "nnUNetPlans")
    assert finding.state == PROBLEM and f"file in {tmp_path / place}: b" in finding.found
    assert ("--unlabelled_only" in finding.fix) == place.endswith("unlabelled")
