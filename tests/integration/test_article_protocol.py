"""From raw data to a prediction with the paper's preset, shrunk: the preset's plan, its trainer, its network."""

import contextlib
import io
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.rot90 import Rot90Transform
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from synthetic import write_dataset
from tiny_training import assert_trained

from nnunetv2_crln.cli.plan_and_preprocess import command
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.export import export_model
from nnunetv2_crln.nnunet_trainers import nnunetv2_crln_trainers as trainers
from nnunetv2_crln.training.schedules import ArticleProtocol
from nnunetv2_crln.utilities.wrapped_network import unwrap

DATASET = 980
NAME = f"Dataset{DATASET}_Synthetic"


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """Make a tiny dataset of eight labelled cases, planned and preprocessed with --article."""
    root = tmp_path_factory.mktemp("article")
    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("raw", "preprocessed", "results"):
            (root / name).mkdir()
            patch.setenv(f"nnUNet_{name}", str(root / name))
        torch.set_num_threads(1)
        patch.setenv("nnUNet_def_n_proc", "1")
        patch.setenv("nnUNet_n_proc_DA", "1")
        write_dataset(root / "raw", DATASET, labelled=8, unlabelled=2, shape=(18, 20, 20), spacing=(0.625,) * 3)
        arguments = f"-d {DATASET} -c 3d_fullres -npfp 1 -np 1 --no_pbar --article left_atrium --num_labelled 8"
        with contextlib.redirect_stdout(output):
            command(arguments.split())
    return SimpleNamespace(root=root, output=output.getvalue(), folder=root / "preprocessed" / NAME)


@pytest.fixture
def trainer_of(planned, monkeypatch, tmp_path):
    for name in ("raw", "preprocessed"):
        monkeypatch.setenv(f"nnUNet_{name}", str(planned.root / name))
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    monkeypatch.setenv("nnUNet_def_n_proc", "1")
    torch.set_num_threads(1)

    def build(name, epochs=2, **crln):
        plans = json.loads((planned.folder / "nnUNetPlans.json").read_text(encoding="utf-8"))
        configuration = plans["configurations"]["3d_article"]
        configuration["patch_size"] = [16, 16, 16]
        configuration["architecture"]["arch_kwargs"] = {
            **configuration["architecture"]["arch_kwargs"],
            "features_per_stage": [4, 6, 8, 10],
            "n_conv_per_stage": [1, 1, 1, 1],
            "n_conv_per_stage_decoder": [1, 1, 1],
            "strides": [[1, 1, 1]] + [[2, 2, 2]] * 3,
            "dropout": 0.0,
        }
        configuration["crln"] |= {"seed": 1, "num_anchors": 8, "num_negatives": 16, "rectification_start": 5}
        configuration["crln"] |= {"overlay_every": 0, "quality_cases": 0, "monitor_cases": 1, **crln}
        configuration["short_schedule"] = {
            "num_epochs": epochs,
            "num_iterations_per_epoch": 6,
            "num_val_iterations_per_epoch": 1,
            "initial_lr": 0.02,
        }
        plans["continue_training"] = False
        dataset_json = json.loads((planned.folder / "dataset.json").read_text(encoding="utf-8"))
        return getattr(trainers, name)(plans, "3d_article", "all", dataset_json, torch.device("cpu"))

    return build


def test_the_command_says_what_it_wrote_and_what_comes_next(planned):
    assert "3d_article in nnUNetPlans.json is the paper's protocol for left_atrium with 8" in planned.output
    assert "3d_article uses the data of 3d_fullres." in planned.output
    assert f"nnUNetv2_train {DATASET} 3d_article all -tr nnUNetTrainer_CRLN_article" in planned.output
    assert (planned.folder / "nnUNetPlans_3d_fullres").is_dir()


def test_crln_article_trains_and_its_model_predicts(trainer_of, planned, tmp_path):
    """In nnU-Net's own way: from the checkpoint, with the network that the plans name."""
    trainer = trainer_of("nnUNetTrainer_CRLN_article", epochs=3)
    trainer.run_training()
    logged = trainer.logger.get_checkpoint()
    assert_trained(trainer)
    assert logged["crln_supervised"][-1] < logged["crln_supervised"][0]
    assert trainer.optimizer.param_groups[0]["weight_decay"] == 5e-4
    assert not trainer.enable_deep_supervision and trainer.inference_allowed_mirroring_axes is None
    student, teacher = unwrap(trainer.network).state_dict(), trainer.method.teacher.module.state_dict()
    running = [key for key in student if key.endswith("running_mean")]
    assert running and any(not torch.equal(student[key], teacher[key]) for key in running)

    folder = trainer.output_folder_base
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(folder, ("all",))
    (tmp_path / "out").mkdir()
    image = planned.root / "raw" / NAME / "imagesTs" / "tst_000_0000.nii.gz"
    predictor.predict_from_files_sequential([[str(image)]], [str(tmp_path / "out" / "tst_000")])
    prediction = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "tst_000.nii.gz")))
    assert prediction.shape == (18, 20, 20) and prediction.max() <= 2

    with pytest.raises(UserError, match="Predict with nnunetv2_crln installed"):
        export_model(folder, tmp_path / "exported", ["all"])
    assert not (tmp_path / "exported").exists()
    # A model of nnU-Net's own network is exported, whatever stands beside it in the plans.
    neighbour = tmp_path / "nnUNetTrainer_CRLN__nnUNetPlans__3d_fullres"
    shutil.copytree(folder, neighbour)
    checkpoint = torch.load(neighbour / "fold_all" / "checkpoint_final.pth", weights_only=True)
    checkpoint["init_args"]["configuration"] = "3d_fullres"
    torch.save(checkpoint, neighbour / "fold_all" / "checkpoint_final.pth")
    assert export_model(neighbour, tmp_path / "exported", ["all"]).is_dir()


@pytest.mark.parametrize("name", ["nnUNetTrainer_article", "nnUNetTrainer_MeanTeacher_article"])
def test_the_compared_trainers_train_on_the_same_plan(trainer_of, name):
    trainer = trainer_of(name)
    trainer.run_training()
    losses = trainer.logger.get_checkpoint()["train_losses"]
    assert len(losses) == 2 and np.isfinite(losses).all()


def test_length_and_optimiser_are_the_articles_unless_the_plans_say_otherwise(trainer_of):
    assert ArticleProtocol.schedule_defaults["num_epochs"] * ArticleProtocol.schedule_defaults[
        "num_iterations_per_epoch"
    ] == (40_000)
    assert ArticleProtocol.schedule_defaults["initial_lr"] == 2.5e-3
    trainer = trainer_of("nnUNetTrainer_article")
    assert (trainer.num_epochs, trainer.initial_lr, trainer.weight_decay, trainer.momentum) == (2, 0.02, 5e-4, 0.9)


@pytest.mark.parametrize(
    ("patch", "axes"), [((80, 112, 112), {1, 2}), ((96, 96, 96), {1, 2}), ((112, 80, 112), None), ((64, 64), {0, 1})]
)
def test_only_the_plane_is_turned_and_only_where_the_patch_stays_itself(patch, axes):
    plane = (len(patch) - 2, len(patch) - 1)
    transforms = ArticleProtocol.get_training_transforms(patch, None, None, plane, False).transforms
    turning = [t for t in transforms if isinstance(t, Rot90Transform)]
    assert [t.allowed_axes for t in turning] == ([axes] if axes else [])
    assert [t.allowed_axes for t in transforms if isinstance(t, MirrorTransform)] == [plane]


def test_labels_turn_with_their_images():
    transforms = ArticleProtocol.get_training_transforms((4, 6, 6), None, None, (1, 2), False)
    image = torch.arange(4 * 6 * 6).reshape(1, 4, 6, 6).float()
    seen = set()
    for _ in range(60):
        out = transforms(image=image.clone(), segmentation=image.to(torch.int16).clone())
        assert torch.equal(out["image"], out["segmentation"].float())
        assert torch.equal(out["image"].flatten(2).sort().values, image.flatten(2).sort().values)
        seen.add(tuple(out["image"].flatten().tolist()))
    assert len(seen) == 8  # four rotations, mirrored or not


@pytest.mark.parametrize("ignore_label", [None, 3])
def test_regions_are_targets_of_their_own(ignore_label):
    """One mask each, and one for what is ignored, as in nnU-Net's own augmentation."""
    transforms = ArticleProtocol.get_training_transforms(
        (4, 4, 4), None, None, (), False, regions=[(1, 2), (2,)], ignore_label=ignore_label
    )
    labels = torch.tensor([-1, 0, 1, 2, 3], dtype=torch.int16).repeat(64)[:64].reshape(1, 4, 4, 4)
    target = transforms(image=torch.zeros(1, 4, 4, 4), segmentation=labels)["segmentation"]
    counts = [int((labels == 1).sum() + (labels == 2).sum()), int((labels == 2).sum())]
    expected = counts if ignore_label is None else [*counts, int((labels == 3).sum())]
    assert [int(mask.sum()) for mask in target] == expected
