"""The doctor's findings; broken things become findings, never tracebacks."""

import sys

import numpy as np
import pytest
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from nnunetv2_crln import doctor
from nnunetv2_crln.cli.doctor import main


def findings(name: str, found=None) -> list[doctor.Finding]:
    return [finding for finding in (found or doctor.examine_installation()) if finding.name == name]


def test_a_healthy_installation_has_no_problems(nnunet_folders, monkeypatch):
    monkeypatch.setenv(doctor.EXTERNAL_TRAINERS, str(doctor.Path(doctor.__file__).parent / "nnunet_trainers"))
    found = doctor.examine_installation()
    assert [finding for finding in found if finding.state == doctor.PROBLEM] == []
    assert findings("nnUNetTrainer_CRLN", found)[0].state == doctor.OK
    assert findings("nnUNet_raw", found)[0].found == str(nnunet_folders.raw)


def test_unset_and_wrong_folders_come_with_a_fix(nnunet_folders, monkeypatch, tmp_path):
    monkeypatch.delenv("nnUNet_raw")
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "nowhere"))
    found = list(doctor._folders())
    assert findings("nnUNet_raw", found)[0].fix.startswith("export nnUNet_raw=")
    assert "mkdir -p" in findings("nnUNet_results", found)[0].fix


def test_an_unknown_trainer_folder_is_a_problem(monkeypatch):
    monkeypatch.delenv(doctor.EXTERNAL_TRAINERS, raising=False)
    (finding,) = doctor._trainer()
    assert finding.state == doctor.PROBLEM
    assert "nnunet_trainers" in finding.fix


def test_a_class_of_the_same_name_is_reported(monkeypatch, tmp_path):
    (tmp_path / "theirs.py").write_text(
        "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
        "class nnUNetTrainer_CRLN(nnUNetTrainer): pass\n"
    )
    monkeypatch.setenv(doctor.EXTERNAL_TRAINERS, str(tmp_path))
    (finding,) = doctor._trainer()
    assert finding.state == doctor.WARNING and "theirs" in finding.found


@pytest.mark.parametrize(("processes", "fix"), [(8, "export nnUNet_def_n_proc=2"), (2, "")])
def test_more_processes_than_cores_are_told(monkeypatch, processes, fix):
    monkeypatch.setattr(doctor, "usable_cores", lambda: 2)
    monkeypatch.setattr("nnunetv2.configuration.default_num_processes", processes)
    finding = doctor._processor()
    assert finding.state == doctor.NOTE and finding.fix == fix and finding.found.startswith("2 cores")


@pytest.mark.parametrize(
    ("requirement", "state"),
    [("numpy>=1.0", "ok"), ("numpy", "ok"), ("numpy<1.0", "problem"), ("a-package-nobody-has>=1", "problem")],
)
def test_requirements(requirement, state):
    finding = doctor._requirement(requirement)
    assert finding.state == state
    assert not finding.fix or finding.fix == f"pip install '{requirement}'"


def test_a_check_that_breaks_is_a_finding(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (finding,) = doctor._call_safely(doctor._device)
    assert finding.state == doctor.PROBLEM and "torch" in finding.found


def test_a_dataset_with_a_leak(make_dataset):
    folder = make_dataset()
    test_image = next((folder / "imagesTs").iterdir())
    (folder / "imagesUl" / "copied_0000.nii.gz").write_bytes(test_image.read_bytes())
    found = doctor.examine_dataset(999)
    (leak,) = findings("same image", found)
    assert leak.state == doctor.PROBLEM and "imagesUl/copied" in leak.found
    (plans,) = findings("plans", found)
    assert plans.fix == "nnUNetv2_crln_plan_and_preprocess -d 999"


@pytest.mark.parametrize(("spacing", "state"), [(1.0, doctor.OK), (3.0, doctor.WARNING)])
def test_unlabelled_cases_far_from_the_labelled_ones_are_named(make_dataset, nnunet_folders, spacing, state):
    raw = make_dataset()
    rng = np.random.default_rng(0)
    for suffix, of_case in (("", 1.0), ("_unlabelled", spacing)):
        folder = nnunet_folders.preprocessed / raw.name / f"nnUNetPlans_3d_fullres{suffix}"
        folder.mkdir(parents=True)
        for number in range(4):
            image = rng.normal(size=(1, 8, 8, 8)).astype(np.float32)
            properties = {"spacing": [of_case] * 3, "shape_after_cropping_and_before_resampling": [8, 8, 8]}
            sizes = dict.fromkeys(("chunks", "blocks", "chunks_seg", "blocks_seg"), image.shape)
            mask = np.zeros(image.shape, np.int16)
            nnUNetDatasetBlosc2.save_case(image, mask, properties, str(folder / f"c{suffix}_{number}"), **sizes)
    (finding,) = doctor._domain_shift(999, 1)
    assert finding.state == state
    assert finding.name == "domain shift" and ("spacing of axis 0 in mm 3, labelled 1" in finding.found) == (
        spacing > 1
    )


def test_an_unknown_dataset_is_a_finding(nnunet_folders):
    assert {finding.state for finding in doctor.examine_dataset(123)} == {doctor.PROBLEM}


@pytest.mark.parametrize(("fix", "status"), [(True, 0), (False, 1)])
def test_the_command_tells_problems_by_its_status(nnunet_folders, monkeypatch, capsys, fix, status):
    monkeypatch.setattr(sys, "argv", ["nnUNetv2_crln_doctor"])
    monkeypatch.setenv(doctor.EXTERNAL_TRAINERS, str(doctor.Path(doctor.__file__).parent / "nnunet_trainers"))
    if not fix:
        monkeypatch.delenv("nnUNet_raw")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == status
    output = capsys.readouterr().out
    assert ("No problems found." in output) == fix
    assert ("→ export nnUNet_raw=" in output) != fix
