"""Trainings and preprocessing of one dataset at the same time: refused, or each as if it were alone."""

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch
from tiny_training import DATASET, NAME, train_epochs

from nnunetv2_crln.cli.plan_and_preprocess import command
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import FOLD_LOCK, data_lock_file, use_lock_file
from nnunetv2_crln.utilities.locking import FolderLock

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="uses fork")
FORK = multiprocessing.get_context("fork")
PREPROCESS = ["-d", str(DATASET), "-c", "3d_fullres", "-np", "1", "-npfp", "1", "--no_pbar"]


def hold_lock(path, shared, ready) -> None:
    FolderLock(path, shared).acquire("refused")
    ready.set()
    signal.pause()


def try_lock(path, shared, refused) -> None:
    try:
        FolderLock(path, shared).acquire("refused")
    except UserError:
        refused.set()


def is_refused(path, shared) -> bool:
    """Tell whether another process is refused the lock."""
    refused = FORK.Event()
    process = FORK.Process(target=try_lock, args=(path, shared, refused))
    process.start()
    process.join(60)
    return refused.is_set()


@contextlib.contextmanager
def other_process_holds(path, shared=False):
    ready = FORK.Event()
    process = FORK.Process(target=hold_lock, args=(path, shared, ready))
    process.start()
    assert ready.wait(60)
    try:
        yield process
    finally:
        process.kill()
        process.join()


@pytest.fixture(params=["nnUNetTrainer_CRLN_short", "nnUNetTrainer_short"])
def name(request):
    """A trainer of this package, semi-supervised or supervised; both lock alike."""
    return request.param


def test_a_second_training_of_a_fold_is_refused_until_the_first_is_gone(trainer_of, name):
    trainer = trainer_of(name)
    with other_process_holds(Path(trainer.output_folder) / FOLD_LOCK) as process:
        before = sorted(os.listdir(trainer.output_folder))
        with pytest.raises(UserError, match=rf"Another training writes into .*fold_all.*process {process.pid} on"):
            trainer.run_training()
        with pytest.raises(UserError, match="Another training"):
            trainer.perform_actual_validation()
        assert sorted(os.listdir(trainer.output_folder)) == before
    train_epochs(trainer, 1)  # kill -9 left no lock behind


def test_a_finished_training_gives_its_locks_back(trainer_of, name):
    trainer = trainer_of(name, epochs=1)
    trainer.run_training()
    trainer.perform_actual_validation()
    with (
        other_process_holds(Path(trainer.output_folder) / FOLD_LOCK),
        other_process_holds(data_lock_file(trainer.preprocessed_dataset_folder)),
    ):
        pass


def test_another_fold_is_not_locked(trainer_of):
    trainer = trainer_of(epochs=1)
    other = Path(trainer.output_folder).with_name("fold_0")
    other.mkdir()
    with (
        other_process_holds(other / FOLD_LOCK),
        other_process_holds(data_lock_file(trainer.preprocessed_dataset_folder), shared=True),
    ):
        train_epochs(trainer, 1)


def test_a_training_keeps_its_locks_until_its_end(trainer_of, name):
    trainer = trainer_of(name)
    trainer.on_train_start()
    for path, shared in (
        (Path(trainer.output_folder) / FOLD_LOCK, True),
        (data_lock_file(trainer.preprocessed_dataset_folder), False),
    ):
        assert is_refused(path, shared)
    assert not is_refused(data_lock_file(trainer.preprocessed_dataset_folder), shared=True)


def test_training_waits_for_preprocessing(trainer_of, name):
    trainer = trainer_of(name)
    with (
        other_process_holds(data_lock_file(trainer.preprocessed_dataset_folder)),
        pytest.raises(UserError, match="is being preprocessed"),
    ):
        trainer.on_train_start()


@pytest.fixture
def five_cases(preprocessed, tmp_path, monkeypatch):
    """Copy the dataset with five labelled cases, enough for nnU-Net's folds."""
    for key in ("raw", "preprocessed"):
        shutil.copytree(getattr(preprocessed, key), tmp_path / key)
        monkeypatch.setenv(f"nnUNet_{key}", str(tmp_path / key))
        preprocessed = type(preprocessed)(**{**vars(preprocessed), key: tmp_path / key})
    for configuration in ("nnUNetPlans_3d_fullres", "gt_segmentations"):
        folder = tmp_path / "preprocessed" / NAME / configuration
        for path in list(folder.glob("lab_000*")):
            for number in (3, 4):
                shutil.copyfile(path, path.with_name(path.name.replace("lab_000", f"lab_00{number}")))
    return preprocessed


def train_fold(build, fold, results, barrier, queue) -> None:
    torch.set_num_threads(1)
    trainer = build(fold=fold, results=results, epochs=1)
    trainer.plot_network_architecture = lambda: None
    barrier.wait(60)
    trainer.run_training()
    queue.put((fold, trainer.logger.get_checkpoint()["train_losses"]))


def test_two_folds_at_once_train_as_each_alone(five_cases, trainer_of, monkeypatch):
    for key in ("raw", "preprocessed"):
        monkeypatch.setenv(f"nnUNet_{key}", str(getattr(five_cases, key)))
    queue, barrier = FORK.Queue(), FORK.Barrier(2)
    trainings = [
        FORK.Process(target=train_fold, args=(trainer_of, fold, "together", barrier, queue)) for fold in (0, 1)
    ]
    for process in trainings:
        process.start()
    losses = dict(queue.get(timeout=300) for _ in trainings)
    for process in trainings:
        process.join()
    assert [process.exitcode for process in trainings] == [0, 0]
    splits = json.loads((five_cases.preprocessed / NAME / "splits_final.json").read_text())
    assert [len(split["val"]) for split in splits] == [1] * 5
    alone = trainer_of(fold=0, results="alone", epochs=1)
    alone.run_training()
    assert losses[0] == alone.logger.get_checkpoint()["train_losses"]


def test_preprocessing_does_not_delete_what_a_training_reads(five_cases, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("nnUNet_results", str(tmp_path))
    folder = five_cases.preprocessed / NAME / "nnUNetPlans_3d_fullres"
    before = sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir())
    plans = five_cases.preprocessed / NAME / "nnUNetPlans.json"
    planned = plans.read_bytes()
    with other_process_holds(data_lock_file(folder), shared=True):
        with pytest.raises(UserError, match=r"is in use by a training.*--unlabelled_only"):
            command(PREPROCESS)
        assert sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir()) == before
        assert plans.read_bytes() == planned, "replaced by plans that do not fit the data"
        command([*PREPROCESS, "--unlabelled_only"])
    assert "unlabelled cases preprocessed" in capsys.readouterr().out


def test_unlabelled_cases_that_a_training_reads_stay_and_others_may_come(five_cases, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("nnUNet_results", str(tmp_path))
    folder = five_cases.preprocessed / NAME / "nnUNetPlans_3d_fullres_unlabelled"
    command([*PREPROCESS, "--unlabelled_only"])
    before = sorted((path.name, path.stat().st_mtime_ns) for path in folder.glob("unl_*"))
    images = five_cases.raw / NAME / "imagesUl"
    first = sorted(images.iterdir())[0]
    with other_process_holds(use_lock_file(folder), shared=True):
        with pytest.raises(UserError, match=r"A training reads .*Wait until the training ends"):
            command([*PREPROCESS, "--unlabelled_only", "--clean"])
        hidden = first.rename(tmp_path / first.name)
        with pytest.raises(UserError, match=rf"remove or replace 1 of its cases: {first.name[:7]}\. Wait"):
            command([*PREPROCESS, "--unlabelled_only"])
        hidden.rename(first)
        shutil.copy(first, images / "zzz_0000.nii.gz")
        command([*PREPROCESS, "--unlabelled_only"])
        assert sorted((path.name, path.stat().st_mtime_ns) for path in folder.glob("unl_*")) == before
    assert (folder / "zzz.b2nd").is_file()


def test_a_semi_supervised_training_shares_its_unlabelled_cases(trainer_of):
    trainer = trainer_of("nnUNetTrainer_CRLN_short")
    trainer.on_train_start()
    path = use_lock_file(trainer.unlabelled.source_folder)
    assert is_refused(path, False) and not is_refused(path, True)


def test_unlabelled_cases_are_preprocessed_by_one_command_or_by_parts(five_cases, monkeypatch, tmp_path):
    monkeypatch.setenv("nnUNet_results", str(tmp_path))
    folder = five_cases.preprocessed / NAME / "nnUNetPlans_3d_fullres_unlabelled"
    command([*PREPROCESS, "--unlabelled_only"])
    before = sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir())
    one_part = [*PREPROCESS, "--unlabelled_only", "--num_parts", "2", "--part_id", "1"]
    with other_process_holds(data_lock_file(folder)):
        for arguments in ([*PREPROCESS, "--unlabelled_only"], one_part):
            with pytest.raises(UserError, match="is being preprocessed by another command"):
                command(arguments)
    assert sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir()) == before
    with other_process_holds(data_lock_file(folder), shared=True):  # by another part
        command(one_part)
        with pytest.raises(UserError, match="is being preprocessed by another command"):
            command([*PREPROCESS, "--unlabelled_only"])
