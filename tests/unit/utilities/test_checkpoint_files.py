"""Checkpoints of others are no damaged ones, and nothing that they hold is executed."""

import errno
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.export import export_model
from nnunetv2_crln.training.checkpoint import load, previous_file
from nnunetv2_crln.utilities.checkpoint_files import DamagedError, read_checkpoint, read_model

CPU = torch.device("cpu")
STOCK = {
    "network_weights": {"a": torch.ones(3)},
    "trainer_name": "nnUNetTrainer",
    "init_args": {"configuration": "2d", "device": CPU},
    "logging": {"ema_fg_dice": [np.float64(0.5), np.float32(0.25)], "steps": np.arange(2)},
    "_best_ema": np.float64(0.5),
}


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "checkpoint_final.pth"


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("core", ["core", "_core"])
def test_a_checkpoint_of_nnunet_is_read_whichever_numpy_wrote_it(path, core, mmap):
    torch.save(STOCK, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            for present in (b"numpy._core.", b"numpy.core."):
                content = content.replace(present, f"numpy.{core}.".encode())
            archive.writestr(name, content)
    loaded = read_checkpoint(path, CPU, mmap=mmap)
    assert loaded["logging"]["ema_fg_dice"] == [0.5, 0.25] and loaded["logging"]["steps"].tolist() == [0, 1]
    assert read_model(path)["init_args"]["configuration"] == "2d"


def test_objects_of_others_are_neither_executed_nor_called_damaged(path):
    torch.save({**STOCK, "logging": Path("x")}, path)
    torch.save({"step": 1}, previous_file(path))  # which would be older
    for read in (read_model, lambda file: load(file, CPU)):
        with pytest.raises(UserError, match=r"is not damaged, but holds objects of another .*\(pathlib") as error:
            read(path)
        assert "remove" not in str(error.value).lower()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.EIO, "Input/output error"), r"cannot be read \(Input/output error\)\. Check the disk"),
        (torch.OutOfMemoryError("CUDA out of memory"), r"is not damaged, but cannot be loaded \(OutOfMemoryError"),
        (MemoryError(), r"is not damaged, but cannot be loaded \(MemoryError"),
    ],
)
def test_a_sound_file_is_kept_when_the_computer_fails(path, monkeypatch, error, message):
    def fail(*_, **__):
        raise error

    torch.save(STOCK, path)
    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(UserError, match=message) as raised:
        load(path, CPU)
    assert "Remove the file" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"garbage", "half"])
def test_a_damaged_model_is_named(path, content):
    torch.save(STOCK, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content == "half" else content)
    with pytest.raises(DamagedError):
        read_checkpoint(path, CPU)
    with pytest.raises(UserError, match=r"checkpoint_final\.pth is damaged .*-chk"):
        read_model(path)


def test_a_file_that_is_no_checkpoint_is_named(path):
    torch.save([1, 2], path)
    with pytest.raises(UserError, match="holds a list of another program"):
        read_checkpoint(path, CPU)
    torch.save(STOCK["network_weights"], path)
    with pytest.raises(UserError, match="has no network_weights, trainer_name, init_args"):
        read_model(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(STOCK, r"written by nnUNetTrainer, which .* needs no export"), (None, r"is damaged .* Copy it again")],
)
def test_what_cannot_be_exported_is_left_alone(tmp_path, content, message):
    fold = tmp_path / "nnUNetTrainer__nnUNetPlans__2d" / "fold_0"
    fold.mkdir(parents=True)
    (fold.parent / "plans.json").write_text('{"configurations": {"2d": {}}}')
    (fold.parent / "dataset.json").write_text("{}")
    checkpoint = fold / "checkpoint_final.pth"
    checkpoint.touch()
    if content:
        torch.save(content, checkpoint)
    with pytest.raises(UserError, match=message) as error:
        export_model(fold.parent, tmp_path / "exported", ["0"])
    assert "remove" not in str(error.value).lower() and checkpoint.is_file()
