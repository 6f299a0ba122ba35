"""The trainings that planning advises."""

import pytest

from nnunetv2_crln.plan_and_preprocess.next_steps import next_trainings
from nnunetv2_crln.raw_dataset.folders import DatasetFolders


@pytest.fixture
def folders(tmp_path):
    name = "Dataset005_Heart"
    return DatasetFolders(name, tmp_path / "raw" / name, tmp_path / "preprocessed" / name)


def commands(text):
    return [line.strip() for line in text.splitlines() if line.startswith("  ")]


def test_supervised_training_comes_first_where_there_is_none(folders, monkeypatch):
    monkeypatch.delenv("nnUNet_results", raising=False)
    first, second = commands(next_trainings(folders, "2d", "P", "0"))
    assert first == "nnUNetv2_train 5 2d 0 -tr nnUNetTrainer -p P"
    weights = "$nnUNet_results/Dataset005_Heart/nnUNetTrainer__P__2d/fold_0/checkpoint_final.pth"
    assert second == f"nnUNetv2_train 5 2d 0 -tr nnUNetTrainer_CRLN -p P -pretrained_weights {weights}"


@pytest.mark.parametrize(("trained", "fold"), [(["0", "3"], "0"), (["3"], "3"), (["all"], "all")])
def test_a_trained_model_is_the_start_and_is_not_trained_over(folders, tmp_path, monkeypatch, trained, fold):
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "my results"))
    model = tmp_path / "my results" / folders.name / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    for each in trained:
        (model / f"fold_{each}").mkdir(parents=True)
        (model / f"fold_{each}" / "checkpoint_final.pth").touch()
    (only,) = commands(next_trainings(folders, "3d_fullres", "nnUNetPlans", "0"))
    checkpoint = model / f"fold_{fold}" / "checkpoint_final.pth"
    assert only == f"nnUNetv2_train 5 3d_fullres {fold} -tr nnUNetTrainer_CRLN -pretrained_weights '{checkpoint}'"
