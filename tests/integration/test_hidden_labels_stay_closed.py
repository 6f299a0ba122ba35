"""No process opens a file of labelsUl, but for the measuring of pseudo labels: the kernel tells every opened file."""

import multiprocessing
import shutil
import sys

import pytest
import SimpleITK as sitk
from opened_files import OpenedFiles
from tiny_training import NAME, train_epochs

from nnunetv2_crln.cli.plan_and_preprocess import command
from nnunetv2_crln.doctor.dataset import examine_dataset
from nnunetv2_crln.training.monitoring.hidden_labels import HiddenLabels

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
OFF = {"monitor_every": 0, "overlay_every": 0, "quality_cases": 0}


def read_in_c(path) -> None:
    sitk.ReadImage(str(path))


def test_the_watch_sees_this_process_its_children_and_c_libraries(make_dataset):
    """Without this the other tests could not fail."""
    hidden = make_dataset(unlabelled=3) / "labelsUl"
    first, second, third = sorted(path.name for path in hidden.iterdir())
    child = multiprocessing.get_context("fork").Process(target=read_in_c, args=(hidden / second,))
    with OpenedFiles(hidden) as watch:
        (hidden / first).read_bytes()
        child.start()
        child.join()
    assert watch.opened == {first, second} and third not in watch.opened
    assert watch.written == set()


def test_planning_and_preprocessing_open_no_hidden_label_and_checks_read_them_on_demand(make_dataset, monkeypatch):
    raw = make_dataset(labelled=2, unlabelled=2, shape=(20, 20, 20))
    with OpenedFiles(raw / "labelsUl") as hidden, OpenedFiles(raw / "imagesUl") as images:
        command(["-d", "999", "-c", "3d_fullres", "-npfp", "2", "-np", "2", "--no_pbar"])
    assert hidden.opened == hidden.written == set()
    assert len(images.opened) == 2
    with OpenedFiles(raw / "labelsUl") as hidden:
        examine_dataset(999)
    assert len(hidden.opened) == 2 and hidden.written == set()


@pytest.mark.parametrize("workers", ["0", "2"])
def test_training_opens_no_hidden_label(trainer_of, preprocessed, monkeypatch, workers):
    monkeypatch.setenv("nnUNet_n_proc_DA", workers)
    trainer = trainer_of(epochs=1, **OFF)
    with OpenedFiles(preprocessed.raw / NAME / "labelsUl") as hidden:
        trainer.run_training()
        trainer.perform_actual_validation()
    assert hidden.opened == hidden.written == set()


def test_measuring_is_the_only_way_and_reads_alone(trainer_of, preprocessed, monkeypatch):
    folder = preprocessed.raw / NAME / "labelsUl"
    with OpenedFiles(folder) as hidden:
        train_epochs(trainer_of(results="measured", epochs=1, monitor_cases=2), 1)
    assert len(hidden.opened) == 2
    assert hidden.written == set()
    monkeypatch.setattr(HiddenLabels, "load", lambda *_: None)
    with OpenedFiles(folder) as hidden:
        trainer_of(results="not_measured", epochs=1).run_training()
    assert hidden.opened == set()


def test_training_needs_no_raw_data(trainer_of, preprocessed, tmp_path):
    """Missing files cannot be read."""
    shutil.move(preprocessed.raw / NAME, tmp_path / "elsewhere")
    try:
        trainer_of(epochs=1).run_training()
    finally:
        shutil.move(tmp_path / "elsewhere", preprocessed.raw / NAME)
