"""Batches that could produce NaN train without it; what is not finite never reaches a weight, a teacher or mu."""

import math

import pytest
import torch
from tiny_training import assert_equal_weights, assert_trained, train_epochs, weights

from nnunetv2_crln.training.dataloading.unlabelled_dataset import UnlabelledDataset
from nnunetv2_crln.training.gradient_step import MAX_SKIPPED_IN_A_ROW
from nnunetv2_crln.training.hooks import loading
from nnunetv2_crln.training.method.gradient_norms import GRADIENT_PREFIX as GRADIENT_NORM
from nnunetv2_crln.utilities.wrapped_network import unwrap

IGNORE = 3
AT_ONCE = {"unsupervised_start": 0, "rectification_start": 0, "ramp_up": 0}


def labels_are(value):
    def change(batch):
        for target in batch["target"]:
            target[:] = value

    return change


def class_is_missing(batch):
    for target in batch["target"]:
        target[target == 2] = 1


def foreground_in_one_patch_alone(batch):
    for target in batch["target"]:
        target[1:] = 0


def constant(value):
    def change(batch):
        for name in ("data", "unlabelled_weak", "unlabelled_strong"):
            batch[name][:] = value

    return change


def huge(batch):
    batch["data"] *= 1e15


EDGE_CASES = {
    "no foreground": (labels_are(0), {}),
    "one class alone": (labels_are(2), {}),
    "a class is missing": (class_is_missing, {}),
    "foreground in one patch alone": (foreground_in_one_patch_alone, {}),
    "everything is ignored": (labels_are(IGNORE), {}),
    "constant images": (constant(0.0), {}),
    "constant bright images": (constant(1e4), {}),
    "no confident voxel": (lambda _: None, {"confidence_threshold": 1.0, "cps_confidence": 1.0}),
    "every voxel is confident": (lambda _: None, {"confidence_threshold": 0.0, "cps_confidence": 0.0}),
    "no uncertain anchor": (lambda _: None, {"anchor_uncertainty": 0.0}),
    "consistency with Dice": (
        labels_are(0),
        {"pseudo_label_loss": "nnunet", "copy_paste_probability": 0.5, "confidence_threshold": 1.0},
    ),
    "huge intensities": (huge, {}),
}


def assert_sound(trainer) -> None:
    assert all(torch.isfinite(value).all() for value in weights(trainer).values())
    if hasattr(trainer.method.rectifier, "mu"):
        assert 0 <= trainer.method.rectifier.mu.item() <= 1


EDGE_CASES_BY_RECTIFICATION = [
    (name, rectification)
    for name, (_, settings) in EDGE_CASES.items()
    for rectification in ("learned", "image", "fixed", "concat")
    if rectification == "learned" or not settings  # the settings have no part in the rectification
]


@pytest.mark.parametrize(("name", "rectification"), EDGE_CASES_BY_RECTIFICATION)
def test_edge_cases_train_without_nan(trainer_of, name, rectification):
    change, settings = EDGE_CASES[name]
    trainer = trainer_of(rectification=rectification, **AT_ONCE, **settings)
    trainer.on_train_start()
    for _ in range(2):
        batch = next(trainer.dataloader_train)
        change(batch)
        result = trainer.train_step(batch)
        # Gradient norms are looked at in some steps only, and are NaN in the others.
        losses = {name: value for name, value in result.items() if not name.startswith(GRADIENT_NORM)}
        assert all(torch.isfinite(value).all() for value in losses.values()), losses
    assert trainer.gradient_step.skipped.read() == (0, 0)
    assert_sound(trainer)


@pytest.mark.parametrize(("cases", "batch_size"), [(1, 1), (1, 2), (2, 5)])
def test_few_unlabelled_cases(trainer_of, monkeypatch, cases, batch_size):
    trainer = trainer_of(unlabelled_batch_size=batch_size, **AT_ONCE)
    find = loading.open_unlabelled_dataset

    def few(*arguments, **options) -> UnlabelledDataset:
        whole = find(*arguments, **options)
        return UnlabelledDataset(whole.source_folder, whole.identifiers[:cases])

    monkeypatch.setattr(loading, "open_unlabelled_dataset", few)
    train_epochs(trainer, 1)
    assert_trained(trainer)
    assert_sound(trainer)


def batch_norm(plans, configuration):
    kwargs = configuration["architecture"]["arch_kwargs"]
    kwargs["norm_op"] = f"torch.nn.modules.batchnorm.BatchNorm{len(configuration['patch_size'])}d"


@pytest.mark.parametrize("change", [None, batch_norm])
@pytest.mark.parametrize("spoiled", ["data", "unlabelled_weak", "unlabelled_strong"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nothing_that_is_not_finite_reaches_student_teacher_or_mu(trainer_of, change, spoiled, value):
    trainer = trainer_of(change=change, confidence_threshold=0.0, rectification="learned", **AT_ONCE)
    trainer.on_train_start()
    trainer.train_step(next(trainer.dataloader_train))
    batch = next(trainer.dataloader_train)
    batch[spoiled][0, :, 2:6] = value
    trainer.train_step(batch)
    assert_sound(trainer)
    result = trainer.train_step(next(trainer.dataloader_train))
    assert torch.isfinite(result["loss"])
    assert_sound(trainer)


def test_a_left_out_step_changes_no_weight_and_is_counted_and_logged(trainer_of):
    trainer = trainer_of()
    trainer.on_train_start()
    trainer.on_train_epoch_start()
    before = {key: value.clone() for key, value in unwrap(trainer.network).state_dict().items()}
    outputs = []
    for spoiled in (True, False, True):
        batch = next(trainer.dataloader_train)
        if spoiled:
            batch["data"][:] = math.nan
        outputs.append(trainer.train_step(batch))
        if len(outputs) == 1:
            assert_equal_weights(before, unwrap(trainer.network).state_dict())
    trainer.on_train_epoch_end(outputs)
    logged = trainer.logger.local_logger.my_fantastic_logging
    assert logged["crln_skipped_steps"][-1] == 2
    assert math.isfinite(logged["train_losses"][-1])  # of the step that was taken


def scaled(trainer):
    """nnU-Net's scaler as on a GPU; it works on a CPU too."""
    trainer.grad_scaler = torch.amp.GradScaler("cpu", init_scale=2.0**4)
    return trainer


def test_with_a_gradient_scaler_the_count_is_read_once_an_epoch(trainer_of):
    trainer = scaled(trainer_of())
    trainer.on_train_start()
    trainer.on_train_epoch_start()
    before = {key: value.clone() for key, value in weights(trainer).items() if key.startswith("student")}
    batch = next(trainer.dataloader_train)
    batch["data"][:] = math.nan
    outputs = [trainer.train_step(batch) for _ in range(MAX_SKIPPED_IN_A_ROW)]  # no error inside of the epoch
    assert trainer.gradient_step.skipped.read() == (MAX_SKIPPED_IN_A_ROW, MAX_SKIPPED_IN_A_ROW)
    assert_equal_weights(before, {k: v for k, v in weights(trainer).items() if k.startswith("student")})
    assert_sound(trainer)
    with pytest.raises(RuntimeError, match=rf"{MAX_SKIPPED_IN_A_ROW} iterations in a row .*nnUNetv2_crln_doctor"):
        trainer.on_train_epoch_end(outputs)


def test_with_a_gradient_scaler_a_few_left_out_steps_are_no_error(trainer_of):
    trainer = scaled(trainer_of())
    trainer.on_train_start()
    trainer.on_train_epoch_start()
    outputs = []
    for step in range(4):
        batch = next(trainer.dataloader_train)
        if step < 3:
            batch["data"][:] = math.inf
        outputs.append(trainer.train_step(batch))
    trainer.on_train_epoch_end(outputs)
    assert trainer.gradient_step.skipped.read() == (3, 0)
    assert trainer.grad_scaler.get_scale() == 2.0**4  # no smaller scale would help a loss that is not finite


def test_a_scale_that_has_collapsed_is_named_and_lifted_in_a_continued_training(trainer_of, capsys):
    trainer = scaled(trainer_of(epochs=3))
    train_epochs(trainer, 1)
    assert "the loss is scaled by" not in capsys.readouterr().out
    trainer.grad_scaler.update(2.0**-10)
    train_epochs(trainer, 1)
    assert capsys.readouterr().out.count(f"the loss is scaled by {2.0**-10:g}") == 1
    continued = scaled(trainer_of(epochs=3))
    continued.load_checkpoint(f"{trainer.output_folder}/checkpoint_latest.pth")
    assert continued.grad_scaler.get_scale() == 2.0**4


def test_every_state_comes_back(trainer_of):
    first = scaled(trainer_of(epochs=4, rectification="learned", **AT_ONCE))
    train_epochs(first, 2)
    batch = next(first.dataloader_train)
    batch["data"][:] = math.nan
    first.train_step(batch)
    first.current_epoch -= 1  # as nnU-Net does before it saves outside of an epoch
    first.save_checkpoint(f"{first.output_folder}/checkpoint_latest.pth")
    first.current_epoch += 1
    second = scaled(trainer_of(epochs=4, rectification="learned", **AT_ONCE))
    second.load_checkpoint(f"{second.output_folder}/checkpoint_latest.pth")
    assert_equal_weights(weights(first), weights(second))
    for part in (
        lambda trainer: trainer.optimizer,
        lambda trainer: trainer.method.rectifier_optimizer,
        lambda trainer: trainer.grad_scaler,
        lambda trainer: trainer.gradient_step.skipped,
    ):
        assert same(part(first).state_dict(), part(second).state_dict()), type(part(first)).__name__
    for name in ("step", "seed", "current_epoch", "_best_ema"):
        assert getattr(first, name) == getattr(second, name), name
    assert second.gradient_step.skipped.read() == (1, 1)
    assert same(first.logger.get_checkpoint(), second.logger.get_checkpoint())
    for trainer in (first, second):
        trainer.on_train_epoch_start()  # sets the learning rate from the epoch
    rates = [[group["lr"] for group in trainer.optimizer.param_groups] for trainer in (first, second)]
    assert rates[0] == rates[1] and len(rates[0]) == 1


def same(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    return a == b or (a != a and b != b)


def test_the_latest_checkpoint_knows_of_the_best(trainer_of):
    """In nnU-Net's order a continued training forgets the best score and may overwrite the best network."""
    trainer = trainer_of(epochs=3)
    train_epochs(trainer, 1)
    latest, best = (
        torch.load(f"{trainer.output_folder}/checkpoint_{name}.pth", weights_only=True) for name in ("latest", "best")
    )
    assert latest["_best_ema"] == best["_best_ema"] == trainer._best_ema
