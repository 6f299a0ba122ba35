"""``--c`` after the plans changed: one error that names the entry, its old and its new value, or a line in the log."""

from pathlib import Path

import pytest
import torch
from nnunetv2.run.run_training import maybe_load_checkpoint
from tiny_training import assert_equal_weights, train_epochs, weights

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import CHECKPOINT_STATE
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.checkpoint_changes import FORMER_DEFAULTS, SHAPING

EPOCHS = 2


def wider(plans, configuration):
    configuration["architecture"]["arch_kwargs"]["features_per_stage"] = [4, 8, 16]


def other_patches(plans, configuration):
    configuration["patch_size"] = [16, 16, 8]
    configuration["batch_size"] = 3


def continued(trainer_of, epochs=EPOCHS, **changes):
    """Do what ``nnUNetv2_train --c`` does with the latest checkpoint."""
    trainer = trainer_of(epochs=epochs, **changes)
    maybe_load_checkpoint(trainer, continue_training=True, validation_only=False)
    return trainer


REFUSED = {
    "fewer prototypes": ({"num_prototypes": 4}, ["num_prototypes: 16 → 4"]),
    "no CPS": ({"cps": False}, ["cps: True → False"]),
    "learned rectification": ({"rectification": "learned"}, ["rectification: auto → learned"]),
    "no DIM": ({"dim": False}, ["dim: True → False"]),
    "two settings": ({"num_prototypes": 8, "cps": False}, ["num_prototypes: 16 → 8", "cps: True → False"]),
    "a wider network": (
        {"change": wider},
        ["architecture.arch_kwargs.features_per_stage: [4, 8, 12] → [4, 8, 16]"],
    ),
    "another class": (
        {"labels": {"labels": {"background": 0, "class_1": 1, "class_2": 2, "extra": 3, "ignore": 4}}},
        ["extra: None → 3"],
    ),
}


def test_what_does_not_fit_is_named_and_nothing_is_damaged(trainer_of):
    first = trainer_of(epochs=EPOCHS)
    train_epochs(first, 1)
    checkpoint = Path(first.output_folder) / "checkpoint_latest.pth"
    before = checkpoint.read_bytes()
    first.locks.close()
    for name, (changes, texts) in REFUSED.items():
        with pytest.raises(UserError) as caught:
            continued(trainer_of, **changes)
        message = str(caught.value)
        assert all(text in message for text in texts), (name, message)
        assert checkpoint.name in message and "Change it back" in message and "size mismatch" not in message
        assert all(setting in message for setting in SHAPING) and "all other settings may change" in message
        assert len(message.replace(str(checkpoint), "")) < 1000
    assert checkpoint.read_bytes() == before

    second = continued(trainer_of)
    train_epochs(second, 1)
    second.locks.close()
    whole = trainer_of(results="whole", epochs=EPOCHS)
    train_epochs(whole, EPOCHS)
    assert_equal_weights(weights(whole), weights(second))


@pytest.mark.parametrize("learning", [{"class_thresholds": True}, {"cps_balance": "gradient"}])
@pytest.mark.parametrize("switched_on", [True, False])
def test_settings_with_a_state_of_their_own_may_be_switched(trainer_of, learning, switched_on):
    block = {"rectification": "learned"}
    first = trainer_of(epochs=EPOCHS, **block, **({} if switched_on else learning))
    train_epochs(first, 1)
    first.locks.close()
    second = continued(trainer_of, mu_learning_rate=0.5, seed=7, **block, **(learning if switched_on else {}))
    assert bool(second.method.objective.state) == switched_on
    assert [group["lr"] for group in second.method.rectifier_optimizer.param_groups] == [0.5]
    assert second.seed == first.seed
    train_epochs(second, 1)
    log = "".join(path.read_text() for path in Path(second.output_folder).glob("training_log_*.txt"))
    assert "mu_learning_rate: 0.01 → 0.5" in log and "7 (not applied: a training keeps its seed)" in log


def test_allowed_changes_are_logged(trainer_of):
    first = trainer_of(epochs=EPOCHS)
    train_epochs(first, 1)
    first.locks.close()
    second = continued(trainer_of, change=other_patches, ema_decay=0.5, confidence_threshold=0.6)
    assert second.current_epoch == 1 and second.method.settings.ema_decay == 0.5
    train_epochs(second, 1)
    folder = Path(second.output_folder)
    log = "".join(path.read_text() for path in folder.glob("training_log_*.txt"))
    assert "settings changed since the first run: confidence_threshold: 0.75 → 0.6, ema_decay: 0.99 → 0.5" in log


def test_a_setting_that_leaves_the_plans_again_has_its_default_again(trainer_of):
    trainer = trainer_of(epochs=3)
    train_epochs(trainer, 1)
    for block in ({"cps_weight": 1.0}, {}):
        trainer.locks.close()
        trainer = continued(trainer_of, epochs=3, **block)
        assert trainer.method.settings.cps_weight == block.get("cps_weight", CRLNSettings().cps_weight)
        train_epochs(trainer, 1)


def test_a_training_keeps_the_defaults_of_the_version_that_began_it(trainer_of):
    first = trainer_of(epochs=EPOCHS, **FORMER_DEFAULTS)
    train_epochs(first, 1)
    first.locks.close()
    # As an older version wrote it: neither the plans nor the checkpoint name what was a default.
    path = Path(first.output_folder) / "checkpoint_latest.pth"
    checkpoint = torch.load(path, weights_only=False)
    for name in ("settings", "named_settings", "pretrained"):
        del checkpoint[CHECKPOINT_STATE][name]
    block = checkpoint["init_args"]["plans"]["configurations"][checkpoint["init_args"]["configuration"]]["crln"]
    for name in FORMER_DEFAULTS:
        del block[name]
    torch.save(checkpoint, path)
    second = continued(trainer_of)
    assert {name: getattr(second.method.settings, name) for name in FORMER_DEFAULTS} == FORMER_DEFAULTS
    assert second.pretrained  # its unsupervised terms counted from the start
    train_epochs(second, 1)
    whole = trainer_of(results="whole", epochs=EPOCHS, **FORMER_DEFAULTS)
    train_epochs(whole, EPOCHS)
    assert_equal_weights(weights(whole), weights(second))


@pytest.mark.parametrize(
    ("name", "other"),
    [("nnUNetTrainer_CRLN_short", "nnUNetTrainer_short"), ("nnUNetTrainer_short", "nnUNetTrainer_CRLN_short")],
)
def test_a_checkpoint_of_another_trainer_is_named_as_such(trainer_of, name, other, tmp_path):
    trainer = trainer_of(other, results="other")
    train_epochs(trainer, 1)
    path = tmp_path / "checkpoint_final.pth"
    trainer.save_checkpoint(str(path))
    with pytest.raises(UserError, match=rf"was written by {other}\b.*-tr.*-pretrained_weights") as error:
        trainer_of(name, results="mine").load_checkpoint(str(path))
    assert "damaged" not in str(error.value) and "remove" not in str(error.value).lower()


@pytest.mark.parametrize("name", ["nnUNetTrainer_CRLN_short", "nnUNetTrainer_short"])
def test_a_damaged_checkpoint_is_named(trainer_of, name, tmp_path):
    path = tmp_path / "checkpoint_final.pth"
    path.write_bytes(b"half a check")
    with pytest.raises(UserError, match=r"checkpoint_final\.pth (is damaged|cannot be read)"):
        trainer_of(name).load_checkpoint(str(path))


@pytest.mark.parametrize("name", ["nnUNetTrainer_CRLN_short", "nnUNetTrainer_short"])
def test_a_training_begun_anew_continues_as_itself_and_not_as_the_model_it_replaces(trainer_of, name):
    former = trainer_of(name, epochs=1)
    former.run_training()
    former.perform_actual_validation()
    folder = Path(former.output_folder)
    assert (folder / "validation" / "summary.json").is_file()

    anew = trainer_of(name, epochs=2, seed=2, save_every=1)
    anew.save_every = 1
    train_epochs(anew, 1)  # and killed
    anew.locks.close()
    assert not (folder / "checkpoint_final.pth").exists() and not (folder / "validation" / "summary.json").exists()
    assert (folder / "checkpoint_final.pth.former").is_file()

    again = continued(trainer_of, name=name, seed=2)
    assert again.current_epoch == 1
    again.run_training()
    assert (folder / "checkpoint_final.pth").is_file() and not list(folder.glob("*.former"))


def test_a_start_from_trained_weights_is_not_lost_by_continuing_without_a_checkpoint(trainer_of):
    first = trainer_of()
    first.initialize()
    first.network.requires_grad_(True)
    with torch.no_grad():
        next(first.network.parameters()).add_(1)  # as -pretrained_weights do
    first.on_train_start()  # and killed before the first checkpoint
    first.locks.close()

    second = trainer_of()
    second.continued = True
    with pytest.raises(UserError, match=r"no checkpoint to continue from.*-pretrained_weights and without --c"):
        second.run_training()
    third = trainer_of()  # the command with -pretrained_weights again
    third.on_train_start()


@pytest.mark.parametrize("name", ["nnUNetTrainer_CRLN_short", "nnUNetTrainer_short"])
def test_a_checkpoint_is_replaced_in_one_step(trainer_of, name, monkeypatch):
    trainer = trainer_of(name)
    train_epochs(trainer, 1)
    file = Path(trainer.output_folder) / "checkpoint_best.pth"
    trainer.save_checkpoint(str(file))
    before = file.read_bytes()

    def killed(_content, target, *_, **__):
        if isinstance(target, str):
            Path(target).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        trainer.save_checkpoint(str(file))
    assert file.read_bytes() == before
