"""nnUNetv2_crln_evaluate from the command line to its files."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_crln.cli import evaluate
from nnunetv2_crln.evaluation.folder import evaluate_folder
from nnunetv2_crln.evaluation.metrics import METRICS
from nnunetv2_crln.evaluation.summary_file import load_summary

CASES = [f"case_{index}" for index in range(6)]


def cube(position: int, size: int = 6) -> np.ndarray:
    labels = np.zeros((16, 16, 16), np.uint8)
    labels[position : position + size, 4:10, 4:10] = 1
    labels[12:15, 12:15, 12:15] = 2
    return labels


def write(folder: Path, case: str, labels: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing((0.5, 0.5, 2.0))
    sitk.WriteImage(image, str(folder / f"{case}.nii.gz"))


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """labelsTs, `good` (one voxel off) and `bad` (two off, one case empty) beside a dataset.json."""
    for index, case in enumerate(CASES):
        write(tmp_path / "labelsTs", case, cube(index % 3))
        write(tmp_path / "good", case, cube(index % 3 + 1))
        write(tmp_path / "bad", case, cube(index % 3 + 2) if index else np.zeros((16, 16, 16), np.uint8))
    dataset = {"labels": {"background": 0, "atrium": 1, "tip": 2}, "file_ending": ".nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps(dataset))
    (tmp_path / "good" / "plans.json").write_text("{}")
    return tmp_path


@pytest.fixture
def command(folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Run the command in the folder; returns exit status, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(folders)
        monkeypatch.setattr(sys, "argv", ["nnUNetv2_crln_evaluate", *arguments])
        try:
            evaluate.main()
            status = 0
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run


def test_default_output_and_table(command, folders: Path) -> None:
    status, out, _ = command("labelsTs", "good", "-np", "2")
    assert status == 0
    found = load_summary(folders / "good" / "summary_crln.json")
    assert found["mean"]["atrium"]["Dice"]["mean"] == pytest.approx(5 / 6)
    assert found["mean"]["atrium"]["HD95_mm"]["mean"] == 2
    assert found == evaluate_folder(folders / "labelsTs", folders / "good", num_processes=1, show_progress=False)
    assert "83.33 ± 0.00" in out
    assert "summary_crln.json" in out
    assert max(map(len, out.splitlines()[1:-1])) <= 80


def test_documented_keys(command, folders: Path) -> None:
    """Check the keys that docs/evaluation.md promises to other programs."""
    command("labelsTs", "good", "-np", "1", "-o", "summary.json", "--compare", "bad")
    found = json.loads((folders / "summary.json").read_text(encoding="utf-8"))
    statistics = {"mean", "sd", "ci_low", "ci_high", "case_sd", "median", "n", "n_nan"}
    differences = {"mean_a", "mean_b", "difference", "sd", "ci_low", "ci_high", "wilcoxon_statistic", "p_value"}
    names = {metric.key for metric in METRICS}
    assert set(found) == {
        *("format_version", "labels_folder", "predictions_folder", "dataset_json", "bootstrap", "classes"),
        *("num_cases", "missing_predictions", "cases", "mean", "foreground_mean", "comparison"),
    }
    assert set(found["cases"]["case_0"]) == {"reference_file", "prediction_file", "metrics"}
    assert set(found["cases"]["case_0"]["metrics"]["tip"]) == names | {"n_ref", "n_pred"}
    assert set(found["mean"]["tip"]) == set(found["foreground_mean"]) == names
    assert set(found["mean"]["tip"]["Dice"]) == set(found["foreground_mean"]["Dice"]) == statistics
    comparison = found["comparison"]
    assert set(comparison) == {
        *("predictions_a", "predictions_b", "resamples", "seed", "num_cases", "unpaired_cases"),
        *("difference", "foreground_mean", "other"),
    }
    assert set(comparison["difference"]["tip"]["Dice"]) == differences | {"n", "n_dropped"}
    documentation = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    for key in {*found, *comparison, *statistics, *differences, *names, "n_ref", "n_pred", "n_dropped"}:
        assert f"`{key}`" in documentation, key


def test_comparison(command, folders: Path) -> None:
    status, out, _ = command("labelsTs", "good", "-np", "1", "--compare", "bad")
    assert status == 0
    comparison = load_summary(folders / "good" / "summary_crln.json")["comparison"]
    dice = comparison["difference"]["atrium"]["Dice"]
    assert dice["mean_b"] == pytest.approx((5 * 4 / 6) / 6)
    assert 0 < dice["ci_low"] < dice["difference"] == pytest.approx(dice["mean_a"] - dice["mean_b"])
    distance = comparison["difference"]["atrium"]["HD95_mm"]
    assert (distance["n"], distance["n_dropped"]) == (5, 1)
    assert distance["p_value"] == pytest.approx(2 / 2**5)
    assert "A - B" in out


def test_csv_and_markdown(command, folders: Path) -> None:
    command("labelsTs", "bad", "-np", "1", "-o", "results/r.json", "--csv", "--markdown", "--compare", "good")
    with open(folders / "results" / "r.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * len(CASES) * 2
    assert (rows[0]["case"], rows[0]["class"], rows[0]["Dice"], rows[0]["HD95_mm"]) == ("case_0", "atrium", "0.0", "")
    assert rows[-1]["predictions_folder"].endswith("good")
    lines = (folders / "results" / "r.md").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("| Class | Dice (%) | Jaccard (%) | ASD (voxel) | ASD (mm) |")
    assert lines[4].startswith("| foreground mean |")
    assert "(1 NaN)" in lines[2]
    assert any(line.startswith("| atrium | Dice [%] |") for line in lines)


def test_empty_predictions_are_named(command) -> None:
    _, out, _ = command("labelsTs", "bad", "-np", "1")
    assert "\natrium: 1 empty prediction(s): case_0" in out
    _, out, _ = command("labelsTs", "good", "-np", "1", "--compare", "bad")
    assert "\nB: atrium: 1 empty prediction(s): case_0" in out


def test_seed_and_resamples_are_used(command, folders: Path) -> None:
    found = []
    for options in (["--seed", "1"], ["--seed", "2"], ["--bootstrap", "500"]):
        command("labelsTs", "bad", "-np", "1", *options)
        found.append(load_summary(folders / "bad" / "summary_crln.json"))
    assert len({item["mean"]["atrium"]["Dice"]["sd"] for item in found}) == 3
    assert found[2]["bootstrap"] == {"resamples": 500, "seed": 0, "confidence_level": 0.95}


def test_mistakes_are_explained(command, folders: Path) -> None:
    (folders / "good" / "case_2.nii.gz").unlink()
    status, _, error = command("labelsTs", "good")
    assert status == 2
    assert error.startswith("Error: 1 of 6 label(s)")
    assert "Traceback" not in error
    assert command("labelsTs", "good", "--chill", "-np", "1")[0] == 0
    for arguments, message in (
        (["labelsTs", "bad", "-o", "table.csv"], "must be a file name ending in .json"),
        (["labelsTs", "bad", "-djfile", "nowhere.json"], "Cannot read nowhere.json"),
        (["labelsTs", "bad", "--compare", "good"], "1 of 6 label(s)"),
        (["nowhere", "bad"], "Labels folder nowhere does not exist"),
    ):
        status, _, error = command(*arguments)
        assert status == 2
        assert message in error
        assert "Evaluating" not in error  # found before any image is read


@pytest.mark.parametrize("ending", [".json", ".csv", ".md"])
def test_only_its_own_results_are_overwritten(command, folders: Path, ending: str) -> None:
    arguments = ("labelsTs", "good", "-o", "result.json", "--csv", "--markdown")
    for _ in range(2):
        assert command(*arguments)[0] == 0
    for content in ("{}", '{"format_version": 1}', "| a | table |"):
        (folders / "result").with_suffix(ending).write_text(content)
        status, _, error = command(*arguments)
        assert status == 2 and f"result{ending} exists and was not written by nnUNetv2_crln_evaluate" in error
        assert (folders / "result").with_suffix(ending).read_text() == content
