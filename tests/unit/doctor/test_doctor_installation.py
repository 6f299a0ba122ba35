"""The doctor's findings on an installation; broken things become findings, never tracebacks."""

import os
import sys

import pytest
from commands import TRAINERS

from nnunetv2_crln.cli.doctor import main
from nnunetv2_crln.doctor import installation
from nnunetv2_crln.doctor.finding import NOTE, OK, PROBLEM, WARNING, Finding, as_findings
from nnunetv2_crln.doctor.installation import EXTERNAL_TRAINERS, examine_installation


def findings(name: str, found=None) -> list[Finding]:
    return [finding for finding in (found or examine_installation()) if finding.name == name]


def test_a_healthy_installation_has_no_problems(nnunet_folders, monkeypatch):
    monkeypatch.setenv(EXTERNAL_TRAINERS, TRAINERS)
    found = examine_installation()
    assert [finding for finding in found if finding.state == PROBLEM] == []
    assert findings("nnUNetTrainer_CRLN", found)[0].state == OK
    assert findings("nnUNet_raw", found)[0].found == str(nnunet_folders.raw)


def test_unset_and_wrong_folders_come_with_a_fix(nnunet_folders, monkeypatch, tmp_path):
    monkeypatch.delenv("nnUNet_raw")
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "nowhere"))
    found = list(installation._folders())
    assert findings("nnUNet_raw", found)[0].fix.startswith("export nnUNet_raw=")
    assert "mkdir -p" in findings("nnUNet_results", found)[0].fix


def test_an_unknown_trainer_folder_is_a_problem(monkeypatch):
    monkeypatch.delenv(EXTERNAL_TRAINERS, raising=False)
    (finding,) = installation._trainer()
    assert finding.state == PROBLEM
    assert "nnunet_trainers" in finding.fix


def test_a_class_of_the_same_name_is_reported(monkeypatch, tmp_path):
    (tmp_path / "theirs.py").write_text(
        "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
        "class nnUNetTrainer_CRLN(nnUNetTrainer): pass\n"
    )
    monkeypatch.setenv(EXTERNAL_TRAINERS, str(tmp_path))
    (finding,) = installation._trainer()
    assert finding.state == WARNING and "theirs" in finding.found


def test_warnings_of_what_nnunets_trainers_import_stay_out_of_the_report(monkeypatch, tmp_path, recwarn):
    (tmp_path / "theirs.py").write_text("import warnings\nwarnings.warn('old', FutureWarning)\n")
    monkeypatch.setenv(EXTERNAL_TRAINERS, os.pathsep.join([str(tmp_path), TRAINERS]))
    assert OK in [finding.state for finding in installation._trainer()]
    assert not recwarn.list


@pytest.mark.parametrize(("processes", "fix"), [(8, "export nnUNet_def_n_proc=2"), (2, "")])
def test_more_processes_than_cores_are_told(monkeypatch, processes, fix):
    monkeypatch.setattr(installation, "usable_cores", lambda: 2)
    monkeypatch.setattr("nnunetv2.configuration.default_num_processes", processes)
    finding = installation._processor()
    assert finding.state == NOTE and finding.fix == fix and finding.found.startswith("2 cores")


@pytest.mark.parametrize(
    ("requirement", "state"),
    [("numpy>=1.0", "ok"), ("numpy", "ok"), ("numpy<1.0", "problem"), ("a-package-nobody-has>=1", "problem")],
)
def test_requirements(requirement, state):
    finding = installation._requirement(requirement)
    assert finding.state == state
    assert not finding.fix or finding.fix == f"pip install '{requirement}'"


def test_a_check_that_breaks_is_a_finding(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (finding,) = as_findings(installation._device)
    assert finding.state == PROBLEM and "torch" in finding.found


@pytest.mark.parametrize(("fix", "status"), [(True, 0), (False, 1)])
def test_the_command_tells_problems_by_its_status(nnunet_folders, monkeypatch, capsys, fix, status):
    monkeypatch.setattr(sys, "argv", ["nnUNetv2_crln_doctor"])
    monkeypatch.setenv(EXTERNAL_TRAINERS, TRAINERS)
    if not fix:
        monkeypatch.delenv("nnUNet_raw")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == status
    output = capsys.readouterr().out
    assert ("No problems found." in output) == fix
    assert ("→ export nnUNet_raw=" in output) != fix


def test_folders_that_cannot_be_meant_are_problems(nnunet_folders, monkeypatch):
    monkeypatch.setenv("nnUNet_results", "~/results")
    monkeypatch.setenv("nnUNet_preprocessed", str(nnunet_folders.raw))
    found = list(installation._folders())
    assert [finding.state for finding in found] == ["problem"] * 3
    assert "nnUNet_preprocessed is the same folder" in findings("nnUNet_raw", found)[0].found
    assert "does not replace ~" in findings("nnUNet_results", found)[0].found
