"""Training inside nnU-Net on a tiny dataset: the parts together, stopping and resuming, deployment, refusals."""

import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.training.loss.robust_ce_loss import RobustCrossEntropyLoss
from tiny_training import NAME, assert_equal_weights, assert_trained, shrink, train_epochs, weights

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.training import variants
from nnunetv2_crln.utilities.wrapped_network import unwrap

CASES = ["lab_000", "lab_001", "lab_002"]


@pytest.mark.parametrize(
    "name",
    ["nnUNetTrainer_CRLN_short", "nnUNetTrainer_CRLN_noCPS_short", "nnUNetTrainer_MeanTeacher_short"],
)
def test_every_variant_trains_and_the_teacher_differs_from_the_student(trainer_of, name):
    trainer = trainer_of(name)
    trainer.run_training()
    logged = trainer.logger.get_checkpoint()
    assert len(logged["train_losses"]) == len(logged["crln_mu"]) == 2
    assert_trained(trainer)
    student, teacher = unwrap(trainer.network).state_dict(), trainer.method.teacher.module.state_dict()
    assert any(not torch.equal(student[key], teacher[key]) for key in student)
    saved = torch.load(f"{trainer.output_folder}/checkpoint_final.pth", weights_only=True)
    assert all(torch.equal(saved["network_weights"][key], teacher[key]) for key in teacher)


def test_2d_configurations_train(trainer_of):
    trainer = trainer_of(which="2d", epochs=4, rectification_start=0)
    train_epochs(trainer, 4)
    logged = trainer.logger.get_checkpoint()
    assert logged["train_losses"][-1] < logged["train_losses"][0]
    assert logged["crln_relationship_map"][-1] < logged["crln_relationship_map"][0]


def test_loss_falls_and_mu_moves(trainer_of):
    trainer = trainer_of(epochs=8, rectification_start=3, rectification="learned")
    trainer.run_training()
    logged = trainer.logger.get_checkpoint()
    assert logged["crln_supervised"][-1] < logged["crln_supervised"][0] - 0.2
    assert logged["crln_relationship_map"][-1] < logged["crln_relationship_map"][0]
    assert 0 < logged["crln_mu"][-1] <= 1


def test_a_trainer_with_splits_of_its_own_trains(trainer_of, monkeypatch):
    """Without a call of the overridden method, as trainers derived from nnU-Net's do."""
    monkeypatch.setattr(
        variants.nnUNetTrainer_CRLN_short, "do_split", lambda self: (CASES[:2], CASES[2:]), raising=False
    )
    trainer = trainer_of(epochs=1)
    train_epochs(trainer, 1)
    assert_trained(trainer)


def test_an_optimiser_made_between_two_stages_does_the_steps(trainer_of, monkeypatch):
    """As trainers do that train in stages, for example nnU-Net's with a warm-up."""

    class Staged(variants.nnUNetTrainer_CRLN_short):
        def on_train_epoch_start(self):
            if self.current_epoch == 1:
                self.optimizer, self.lr_scheduler = self.configure_optimizers()
            super().on_train_epoch_start()

    monkeypatch.setattr(variants, "Staged", Staged, raising=False)
    trainer = trainer_of("Staged")
    train_epochs(trainer, 2)
    trained = {p for group in trainer.optimizer.param_groups for p in group["params"]}
    assert set(trainer.network.parameters()) | set(trainer.method.heads.parameters()) == trained
    assert all("momentum_buffer" in trainer.optimizer.state[p] for p in trained if p.grad is not None)


def test_a_derived_trainers_change_of_the_loss_counts(trainer_of, monkeypatch):
    """With an ignore label, too, where nnU-Net's own loss is replaced."""

    class Smoothing(variants.nnUNetTrainer_CRLN_short):
        def _build_loss(self):
            loss = super()._build_loss()
            loss.loss.ce = RobustCrossEntropyLoss(label_smoothing=0.5, ignore_index=self.label_manager.ignore_label)
            return loss

    monkeypatch.setattr(variants, "Smoothing", Smoothing, raising=False)
    logits, target = torch.randn(1, 3, 4, 4, 4), torch.randint(0, 4, (1, 1, 4, 4, 4))
    losses = []
    for name in ("nnUNetTrainer_CRLN_short", "Smoothing"):
        trainer = trainer_of(name, results=name)
        trainer.initialize()
        losses.append(trainer.method.objective.full_resolution(logits, target).item())
    assert losses[0] != losses[1]


def test_progress_is_drawn_without_our_curves(trainer_of, monkeypatch):
    """nnU-Net draws as many epochs as every curve has."""

    class Logging(variants.nnUNetTrainer_CRLN_short):
        def on_train_epoch_end(self, train_outputs):
            self.logger.log("train_losses", float(train_outputs[-1]["loss"]), self.current_epoch)

    monkeypatch.setattr(variants, "Logging", Logging, raising=False)
    trainer = trainer_of("Logging", epochs=1)
    train_epochs(trainer, 1)
    assert {len(values) for values in trainer.logger.get_checkpoint().values()} == {1}


def test_nothing_is_flipped_where_left_and_right_are_different_labels(trainer_of):
    trainer = trainer_of("nnUNetTrainer_CRLN_NoMirroring")
    trainer.num_epochs, trainer.num_iterations_per_epoch = 1, 1
    trainer.on_train_start()
    assert trainer.inference_allowed_mirroring_axes is None
    for _ in range(4):
        batch = next(trainer.dataloader_train)
        assert not batch["flips"].any()


def test_nothing_is_predicted_for_a_second_stage_that_cannot_be_trained(trainer_of):
    """As nnU-Net does after 3d_lowres, if its plans have a cascade."""

    def first_stage(plans, configuration):
        configuration["next_stage"] = "3d_cascade_fullres"
        plans["configurations"]["3d_cascade_fullres"] = {"inherits_from": "2d", "previous_stage": "3d_fullres"}

    trainer = trainer_of(epochs=1, change=first_stage)
    train_epochs(trainer, 1)
    trainer.perform_actual_validation()
    assert (Path(trainer.output_folder) / "validation" / "summary.json").is_file()
    assert not (Path(trainer.output_folder_base) / "predicted_next_stage").exists()


def test_resumed_training_equals_uninterrupted_training(trainer_of, monkeypatch):
    whole = trainer_of(results="whole", epochs=3)
    train_epochs(whole, 3)

    first = trainer_of(results="parts", epochs=3)
    train_epochs(first, 1)
    # Another number of worker processes must not matter either.
    monkeypatch.setenv("nnUNet_n_proc_DA", "2")
    second = trainer_of(results="parts", epochs=3)
    second.load_checkpoint(f"{second.output_folder}/checkpoint_latest.pth")
    train_epochs(second, 2)
    second.dataloader_train._finish()
    second.dataloader_val._finish()

    assert_equal_weights(weights(whole), weights(second))
    assert second.logger.get_checkpoint()["train_losses"] == whole.logger.get_checkpoint()["train_losses"]
    assert second.logger.get_checkpoint()["mean_fg_dice"] == whole.logger.get_checkpoint()["mean_fg_dice"]


def test_hidden_labels_do_not_influence_training(trainer_of, preprocessed):
    before = trainer_of(results="before")
    train_epochs(before, 2)
    hidden = preprocessed.raw / NAME / "labelsUl"
    kept = hidden.with_name("kept")
    shutil.move(hidden, kept)
    try:
        after = trainer_of(results="after")
        train_epochs(after, 2)
    finally:
        shutil.move(kept, hidden)
    assert_equal_weights(weights(before), weights(after))


def test_ignored_voxels_have_no_say(trainer_of):
    """Whatever the image shows there, no loss term of the labelled patches changes."""
    trainer = trainer_of("nnUNetTrainer_CRLN_noCPS_short")
    trainer.on_train_start()
    batch = next(trainer.dataloader_train)
    target = batch["target"][0]
    target[:, :, :4] = trainer.label_manager.ignore_label
    logits = torch.randn(2, trainer.label_manager.num_segmentation_heads, 16, 16, 16)
    other = logits.clone()
    other[:, :, :4] = torch.randn_like(other[:, :, :4])
    loss = trainer.method.objective.full_resolution
    assert torch.allclose(loss(logits, target), loss(other, target))
    other[:, :, 4:8] = torch.randn_like(other[:, :, 4:8])
    assert not torch.allclose(loss(logits, target), loss(other, target))


def test_pretrained_weights_reach_the_teacher(trainer_of):
    trainer = trainer_of()
    trainer.initialize()
    with torch.no_grad():
        for parameter in trainer.network.parameters():
            parameter.fill_(0.5)
    trainer.on_train_start()
    assert all((parameter == 0.5).all() for parameter in trainer.method.teacher.module.parameters())


def test_unlabelled_images_have_no_say_before_their_start(trainer_of):
    reached = []
    for noise in (0.0, 1.0):
        trainer = trainer_of(results=f"noise{noise:g}", unsupervised_start=2)
        trainer.on_train_start()
        for _ in range(3):
            batch = next(trainer.dataloader_train)
            for view in ("unlabelled_weak", "unlabelled_strong"):
                batch[view] += noise * torch.randn(batch[view].shape)
            trainer.train_step(batch)
            reached.append(torch.cat([p.detach().flatten() for p in unwrap(trainer.network).parameters()]))
    equal = [torch.allclose(quiet, noisy, rtol=1e-4) for quiet, noisy in zip(reached[:3], reached[3:], strict=True)]
    assert equal == [True, True, False]


@pytest.mark.parametrize("pretrained", [True, False])
def test_a_network_of_random_weights_first_learns_from_labels_alone(trainer_of, pretrained):
    trainer = trainer_of(unsupervised_start=None)
    trainer.initialize()
    if pretrained:
        with torch.no_grad():
            next(trainer.network.parameters()).add_(0.5)
    train_epochs(trainer, 1)
    again = trainer_of(unsupervised_start=None)
    again.load_checkpoint(f"{trainer.output_folder}/checkpoint_latest.pth")
    again.on_train_start()
    starts = [of.phases.unsupervised_start for of in (trainer, again)]
    assert starts == ([0, 0] if pretrained else [3, 3])


def test_non_finite_steps_are_left_out_and_stop_the_training_in_the_end(trainer_of):
    trainer = trainer_of(rectification_start=0)
    trainer.on_train_start()
    batch = next(trainer.dataloader_train)
    before = {key: value.clone() for key, value in unwrap(trainer.network).state_dict().items()}
    batch["data"][:] = float("nan")
    trainer.train_step(batch)
    after = unwrap(trainer.network).state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert all(torch.isfinite(value).all() for value in weights(trainer).values())
    with pytest.raises(RuntimeError, match="in a row had a non-finite"):
        for _ in range(30):
            trainer.train_step(batch)


def cascade(plans, configuration):
    configuration["previous_stage"] = "3d_lowres"


def shallow(plans, configuration):
    shrink(configuration, stages=2)


def test_a_cascade_is_refused_by_name(trainer_of):
    with pytest.raises(UserError, match="second stage of a cascade"):
        trainer_of(change=cascade)


def test_too_few_decoder_stages_are_refused(trainer_of):
    with pytest.raises(UserError, match="1 decoder stage"):
        trainer_of(change=shallow).initialize()


def test_a_bad_block_names_its_key(trainer_of):
    with pytest.raises(UserError, match=r"'cps_wieght'\. Did you mean cps_weight\?"):
        trainer_of(cps_wieght=1)


@pytest.mark.parametrize("what", ["all", "folder"])
def test_missing_unlabelled_cases_are_named_before_training(trainer_of, preprocessed, what):
    folder = preprocessed.preprocessed / NAME
    hidden = folder / "elsewhere"
    hidden.mkdir()
    moved = [p for p in folder.iterdir() if "_unlabelled" in p.name and (p.is_dir() or what == "all")]
    for path in moved:
        shutil.move(path, hidden / path.name)
    try:
        with pytest.raises(UserError, match="nnUNetv2_crln_plan_and_preprocess -d 990 -c 3d_fullres"):
            trainer_of().on_train_start()
    finally:
        for path in moved:
            shutil.move(hidden / path.name, path)
        hidden.rmdir()


def other_spacing(plans, configuration):
    configuration["spacing"] = [2.0, 2.0, 2.0]


@pytest.mark.parametrize("name", ["nnUNetTrainer_CRLN_short", "nnUNetTrainer_short"])
def test_labelled_cases_of_another_spacing_are_refused(trainer_of, name):
    """As those of plans that were made again for other configurations: nnU-Net would train on them."""
    trainer = trainer_of(name, change=other_spacing)
    with pytest.raises(UserError, match=r"lab_000 has 20 × 20 × 20 instead of 10 × 10 × 10 voxels.*v2_preprocess"):
        trainer.initialize()


def test_plans_without_resampling_have_no_other_spacing(trainer_of):
    def change(plans, configuration):
        other_spacing(plans, configuration)
        configuration["resampling_fn_data"] = configuration["resampling_fn_seg"] = "no_resampling_hack"

    trainer_of(change=change).initialize()


@pytest.mark.parametrize("name", ["nnUNetTrainer_CRLN_short", "nnUNetTrainer_short"])
@pytest.mark.parametrize("exists", [True, False])
def test_a_configuration_without_labelled_data_names_the_commands(trainer_of, preprocessed, name, exists):
    folder = preprocessed.preprocessed / NAME / "nnUNetPlans_nothing"

    def change(_, configuration):
        configuration["data_identifier"] = folder.name

    if exists:
        folder.mkdir()
    try:
        with pytest.raises(UserError, match=r"has no preprocessed labelled cases\. Run: nnUNetv2_preprocess -d 990"):
            trainer_of(name, change=change).initialize()
    finally:
        if exists:
            folder.rmdir()


def test_a_stray_file_among_the_labelled_cases_is_named(trainer_of, preprocessed):
    stray = preprocessed.preprocessed / NAME / "nnUNetPlans_3d_fullres" / ".DS_Store"
    stray.touch()
    try:
        with pytest.raises(UserError, match=r"several kinds \(DS_Store, b2nd\).*Remove \.DS_Store"):
            trainer_of().initialize()
    finally:
        stray.unlink()


@pytest.mark.parametrize("fold", ["all", 0])
def test_a_damaged_labelled_case_is_named_or_not_needed(trainer_of, preprocessed, tmp_path, monkeypatch, fold):
    shutil.copytree(preprocessed.preprocessed, tmp_path / "preprocessed")
    folder = tmp_path / "preprocessed" / NAME
    (folder / "splits_final.json").write_text('[{"train": ["lab_000"], "val": ["lab_001"]}]')
    damaged = folder / "nnUNetPlans_3d_fullres" / "lab_002.b2nd"
    damaged.write_bytes(damaged.read_bytes()[:100])
    trainer = trainer_of(fold=fold)
    monkeypatch.setattr(trainer, "preprocessed_dataset_folder_base", str(folder))
    monkeypatch.setattr(trainer, "preprocessed_dataset_folder", str(damaged.parent))
    refused = pytest.raises(UserError, match=r"1 preprocessed case\(s\) cannot be read: .*lab_002")
    with refused if fold == "all" else contextlib.nullcontext():
        trainer.run_training()


def test_labelled_cases_that_are_not_preprocessed_are_named(trainer_of, preprocessed, tmp_path, monkeypatch):
    trainer = trainer_of(epochs=1)
    images = tmp_path / "raw" / NAME / "imagesTr"
    shutil.copytree(preprocessed.raw / NAME / "imagesTr", images)
    shutil.copy(preprocessed.raw / NAME / "dataset.json", images.parent)
    shutil.copy(images / "lab_000_0000.nii.gz", images / "forgotten_0000.nii.gz")
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    trainer.initialize()
    trainer.get_dataloaders()
    log = Path(trainer.log_file).read_text(encoding="utf-8")
    assert "WARNING: 1 labelled case(s) are not preprocessed" in log and "leave them out: forgotten. Run: " in log


@pytest.fixture
def no_unlabelled_cases(preprocessed):
    """The dataset as preprocessed without imagesUl."""
    folder = preprocessed.preprocessed / NAME
    info = folder / "nnUNetPlans_3d_fullres_unlabelled_info.json"
    before = info.read_text(encoding="utf-8")
    info.write_text(json.dumps({**json.loads(before), "cases": []}))
    yield
    info.write_text(before)


def test_ignored_voxels_alone_are_enough_unlabelled_data(trainer_of, no_unlabelled_cases):
    trainer = trainer_of(epochs=1, rectification_start=0)
    trainer.run_training()
    logged = trainer.logger.get_checkpoint()
    assert_trained(trainer)
    assert logged["crln_consistency"][-1] > 0
    assert trainer.num_cases["unlabelled"] == 0
    assert np.isfinite(logged["crln_monitor_confidence"][-1])


def test_without_any_unlabelled_voxel_there_is_nothing_to_do(trainer_of, no_unlabelled_cases):
    with pytest.raises(UserError, match="has 0 unlabelled cases"):
        trainer_of(ignored_voxels=False).on_train_start()


@pytest.mark.parametrize(
    "block",
    [
        {},
        {
            "rectification": "concat",
            "pseudo_label_loss": "nnunet",
            "copy_paste_probability": 0.5,
        },
    ],
)
def test_regions_train_with_every_term_and_are_validated(trainer_of, block):
    """Two regions of which one contains the other, with ignored voxels."""
    labels = {"background": 0, "both": [1, 2], "second": [2], "ignore": 3}
    trainer = trainer_of(
        epochs=2, rectification_start=0, labels={"labels": labels, "regions_class_order": [1, 2]}, **block
    )
    trainer.run_training()
    assert trainer.method.num_classes == 2
    logged = trainer.logger.get_checkpoint()
    assert_trained(trainer)
    for curve in ("consistency", "relationship_map", "cps", "monitor_confidence", "pseudo_dice_map"):
        assert np.isfinite(logged[f"crln_{curve}"][-1]), curve
    trainer.perform_actual_validation(save_probabilities=True)  # nnUNetv2_train --npz
    folder = Path(trainer.output_folder) / "validation"
    written = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert set(written["mean"]) == {"(1, 2)", "(2,)"}
    probabilities = [np.load(file)["probabilities"] for file in folder.glob("*.npz")]
    assert len(probabilities) == len(written["metric_per_case"])
    assert all(len(case) == 2 and 0 <= case.min() <= case.max() <= 1 for case in probabilities)


def test_too_few_labelled_cases_for_five_folds_are_named(trainer_of):
    with pytest.raises(UserError, match="too few for nnU-Net's 5-fold"):
        trainer_of(fold=0).on_train_start()


@pytest.mark.parametrize(("deploy", "other"), [("student", "teacher"), ("teacher", "student")])
def test_the_weights_for_predictions_are_those_of_the_deployed_network(trainer_of, tmp_path, deploy, other):
    trainer = trainer_of(deploy=deploy)
    trainer.initialize()
    with torch.no_grad():
        for parameter in trainer.method.student.parameters():
            parameter.add_(1)
    trainer.save_checkpoint(str(tmp_path / "checkpoint.pth"))
    saved = torch.load(tmp_path / "checkpoint.pth", weights_only=True)["network_weights"]
    networks = {"student": trainer.method.student, "teacher": trainer.method.teacher.module}
    assert_equal_weights(saved, networks[deploy].state_dict())
    assert any(not torch.equal(saved[name], value) for name, value in networks[other].state_dict().items())


def test_a_stock_checkpoint_cannot_be_continued(trainer_of, tmp_path):
    trainer = trainer_of()
    with pytest.raises(UserError, match="-pretrained_weights"):
        trainer.load_checkpoint({"trainer_name": "nnUNetTrainer", "network_weights": {}})


LABELS = {"background": 0, "class_1": 1, "class_2": 2, "ignore": 3}


@pytest.mark.parametrize("declared", [True, False])
def test_background_of_partly_annotated_cases_is_unlabelled(trainer_of, no_unlabelled_cases, declared):
    labels = LABELS if declared else {"background": 0, "class_1": 1, "class_2": 2, "class_3": 3}
    annotated = {"lab_000": ["class_1"], "lab_001": ["class_2"]}
    trainer = trainer_of(
        epochs=1, rectification_start=0, labels={"labels": labels, "crln": {"annotated_labels": annotated}}
    )
    trainer.on_train_start()
    batches = [next(trainer.dataloader_train) for _ in range(8)]
    ignore, seen = trainer.label_manager.ignore_label, set()
    assert ignore == (3 if declared else 4)
    for batch in batches:
        for case, target in zip(batch["keys"], batch["target"][0], strict=True):
            seen.add((str(case), bool((target == 0).any())))
        partly = torch.tensor([str(case) in annotated for case in batch["unlabelled_keys"]])
        assert declared or partly.all()
        hidden = (batch["unlabelled_known"] == -2).flatten(1).any(1)
        assert torch.equal(hidden, partly)
        assert torch.equal(batch["unlabelled_annotated"].any(1), partly)
    assert {("lab_000", False), ("lab_001", False), ("lab_002", True)} == seen
    losses = [trainer.train_step(batch) for batch in batches[:2]]
    assert all(np.isfinite(float(value)) for step in losses for value in step.values() if not value.isnan())
    assert trainer.method.num_classes == (3 if declared else 4)
    assert list(trainer.dataloader_val.data_loader.labelled.indices) == ["lab_002"]
