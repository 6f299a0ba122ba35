"""Typing mistakes of a new user: each command says what was probably meant."""

import pytest

from nnunetv2_crln.cli.main import main

MODEL = "nnUNetTrainer_CRLN__nnUNetPlans__3d_fullres"
EXPORT = ["export", "-d", "104", "-c", "3d_fullres", "-f", "all", "-o", "exported"]
HIDE = ["hide_labels", "-o", "105", "--num_labelled", "1", "-d"]


@pytest.fixture
def folders(nnunet_folders, tmp_path, monkeypatch):
    """A dataset, a trained model and a download, of which names alone matter; the working directory is theirs."""
    for path in (
        "raw/Dataset104_Hearts/labelsTs",
        "raw/Dataset007_Pancreas",
        f"results/Dataset104_Hearts/{MODEL}/fold_all",
        "predictions",
        "Downloads",
    ):
        (tmp_path / path).mkdir(parents=True, exist_ok=True)
    fold = tmp_path / "results" / "Dataset104_Hearts" / MODEL / "fold_all"
    (fold / "checkpoint_best.pth").touch()
    for name in ("plans.json", "dataset.json"):
        (fold.parent / name).write_text('{"configurations": {}}')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["evalute"], "evaluate"),
        (["nnUNetv2_crln_reprot"], "report"),
        (["doctor", "--hepl"], "--help"),
        (["convert", "LeftAtrum", "-i", "x"], "LeftAtrium"),
        (["convert", "leftatrium", "-i", "x"], "LeftAtrium"),
        (["convert", "LeftAtrium", "-i", "Download"], "Downloads"),
        (["convert", "LeftAtrium", "-i", "Downloads", "--num_labeled", "8"], "--num_labelled"),
        ([*HIDE, "105"], "104 (Dataset104_Hearts)"),
        ([*HIDE, "Haerts"], "104 (Dataset104_Hearts)"),
        ([*HIDE, "Dataset07_Pancreas"], "7 (Dataset007_Pancreas)"),
        (["plan_and_preprocess", "-d", "14"], "104 (Dataset104_Hearts)"),
        (["plan_and_preprocess", "-d", "104", "-pl", "nnUNetPlannerResEnc"], "nnUNetPlannerResEncM"),
        (["plan_and_preprocess", "-d", "104", "--article", "left_atrum"], "left_atrium"),
        (["plan_and_preprocess", "-d", "104", "--unlabeled_only"], "--unlabelled_only"),
        ([*EXPORT, "-d", "140"], "104 (Dataset104_Hearts)"),
        ([*EXPORT, "-tr", "nnUNetTrainer_CRNL"], MODEL),
        ([*EXPORT, "-c", "3d_fulres"], MODEL),
        ([*EXPORT, "-p", "nnUNetPlan"], MODEL),
        ([*EXPORT, "-f", "al", "-chk", "checkpoint_best.pth"], "fold_all"),
        ([*EXPORT, "-chk", "checkpoint_bst.pth"], "checkpoint_best.pth"),
        ([*EXPORT, "--network", "teachr"], "teacher"),
        (["evaluate", "raw/Dataset104_Hearts/labelTs", "predictions"], "raw/Dataset104_Hearts/labelsTs"),
        (["evaluate", "raw/Dataset104_Hearts/labelsTs", "prediction"], "predictions"),
        (["report", f"results/Dataset104_Hearts/{MODEL.replace('CRLN', 'CLRN')}/fold_all"], MODEL),
    ],
    ids=lambda value: " ".join(value[:1] + value[-2:]) if isinstance(value, list) else None,
)
def test_a_mistake_gets_a_suggestion(folders, capsys, arguments, meant):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert "Did you mean " in error and f"{meant}?" in error.replace("\n", " ")


@pytest.mark.parametrize(
    ("variable", "similar", "arguments"),
    [
        ("nnUNet_raw", "NNUNET_RAW", ["convert", "LeftAtrium", "-i", "Downloads"]),
        ("nnUNet_results", "nnUNet_result", EXPORT),
    ],
)
def test_a_misspelt_environment_variable_is_found(folders, monkeypatch, capsys, variable, similar, arguments):
    monkeypatch.setenv(similar, "somewhere")
    monkeypatch.delenv(variable)
    with pytest.raises(SystemExit):
        main(arguments)
    assert f"{variable} is not set, but {similar} is." in capsys.readouterr().err


def test_a_folder_behind_a_variable_may_be_misspelt_too(folders, monkeypatch, capsys):
    monkeypatch.setenv("nnUNet_results", str(folders / "reslts"))
    with pytest.raises(SystemExit):
        main(EXPORT)
    assert f"Did you mean {folders / 'results'}?" in capsys.readouterr().err


def test_nothing_is_suggested_where_nothing_resembles(folders, capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "xyzzy", "predictions"])
    assert "Did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("folder", "raw", "text"),
    [
        ("Dataset5_Liver", "", "Rename Dataset5_Liver to Dataset005_Liver if"),
        ("dataset005_liver", "", "Rename dataset005_liver to Dataset005_liver if"),
        ("Task05_Liver", "", "Rename Task05_Liver to Dataset005_Liver if"),
        ("Dataset005_Liver", "Dataset005_Liver", "nnUNet_raw must be the folder above the dataset: "),
    ],
)
def test_a_dataset_under_another_kind_of_name_is_found(folders, monkeypatch, capsys, folder, raw, text):
    (folders / "raw" / folder).mkdir()
    monkeypatch.setenv("nnUNet_raw", str(folders / "raw" / raw))
    with pytest.raises(SystemExit):
        main(["plan_and_preprocess", "-d", "5"])
    assert text in capsys.readouterr().err
