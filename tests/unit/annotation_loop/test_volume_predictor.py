"""Which networks predict, and the volume of a voxel."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nnunetv2_crln.annotation_loop.volume_predictor import (
    ModelChoice,
    VolumePrediction,
    VolumePredictor,
    _trained_folds,
)
from nnunetv2_crln.errors import UserError


def test_the_volume_of_a_voxel_is_that_of_the_preprocessed_grid():
    """20 x 30 x 10 voxels of 1 x 2 x 3 mm were resampled to 10 x 30 x 20: as many voxels, so 6 mm³ each."""
    properties = {"shape_after_cropping_and_before_resampling": (20, 30, 10), "spacing": [1.0, 2.0, 3.0]}

    def prediction(*grid):
        return VolumePrediction("a", np.zeros(1), torch.zeros(2, *grid), properties, np.zeros(0))

    assert prediction(10, 30, 20).voxel_ml == pytest.approx(0.006)
    assert prediction(10, 15, 20).voxel_ml == pytest.approx(0.012)


@pytest.fixture
def model(tmp_path):
    """A model folder whose fold_2 is not finished."""
    for fold in ("fold_0", "fold_1", "fold_2", "fold_all"):
        (tmp_path / fold).mkdir()
        name = "checkpoint_best.pth" if fold == "fold_2" else "checkpoint_final.pth"
        (tmp_path / fold / name).write_bytes(b"")
    (tmp_path / "plans.json").write_text("{}")
    return tmp_path


def names(folds: list[Path]) -> list[str]:
    return [fold.name for fold in folds]


def test_finished_folds_are_averaged_and_fold_all_is_not_one_of_them(model):
    assert names(_trained_folds(ModelChoice(model))) == ["fold_0", "fold_1"]
    assert names(_trained_folds(ModelChoice(model, ("all",)))) == ["fold_all"]
    assert names(_trained_folds(ModelChoice(model, checkpoint="checkpoint_best.pth"))) == ["fold_2"]


def test_folds_that_are_not_finished_are_named(model):
    with pytest.raises(UserError, match=r"no checkpoint_final\.pth for fold\(s\) 2 .*fold_0, fold_1, fold_all"):
        _trained_folds(ModelChoice(model, ("0", "2")))


def test_a_damaged_checkpoint_is_named_before_nnunet_reads_it(model):
    with pytest.raises(UserError, match=r"fold_0.checkpoint_final\.pth is damaged"):
        VolumePredictor(ModelChoice(model, device="cpu"))
