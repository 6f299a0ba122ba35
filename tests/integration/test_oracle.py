"""The oracle: the views of every other method, the truth as pseudo labels, and nothing that a user can train."""

from pathlib import Path

import numpy as np
import oracle
import pytest
import torch
from tiny_training import NAME, assert_trained, train_epochs

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.nnunet_trainers import nnunetv2_crln_trainers
from nnunetv2_crln.training import variants

PACKAGE = Path(variants.__file__).parents[1]


@pytest.fixture
def oracle_of(trainer_of, monkeypatch):
    monkeypatch.setattr(variants, "nnUNetTrainer_Oracle_short", oracle.nnUNetTrainer_Oracle_short, raising=False)
    return lambda **crln: trainer_of("nnUNetTrainer_Oracle_short", results="oracle", epochs=1, **crln)


def test_views_are_those_of_the_mean_teacher_and_pseudo_labels_are_the_truth(trainer_of, oracle_of):
    teacher, told = trainer_of("nnUNetTrainer_MeanTeacher_short"), oracle_of()
    teacher.on_train_start()
    told.on_train_start()
    batch, with_truth = next(teacher.dataloader_train), next(told.dataloader_train)
    for name in ("data", "unlabelled_weak", "unlabelled_strong", "boxes", "flips", "pasted"):
        assert torch.equal(batch[name], with_truth[name]), name
    told.train_step(with_truth)
    pseudo, _ = told.method.pseudo_labels(with_truth["unlabelled_weak"].to(told.device), rectifying=False)
    known = with_truth["hidden"][:, 0] >= 0
    assert torch.equal(pseudo.labels[known], with_truth["hidden"][:, 0][known].long())
    assert torch.equal(pseudo.confidence > 0, known & (with_truth["hidden"][:, 0] < told.method.num_classes))
    assert (pseudo.labels > 0).any()


def test_hidden_labels_lie_on_the_images_of_their_cases(oracle_of):
    told = oracle_of()
    told.on_train_start()
    case = told.unlabelled.identifiers[0]
    image, label, _, properties = told.unlabelled.load_case(case)
    expected = told.unlabelled.hidden_labels.load(case, properties, tuple(image.shape[1:]))
    inside = label[0] >= 0
    assert np.array_equal(label[0][inside], expected[inside]) and (expected > 0).any()


def test_the_oracle_trains(oracle_of):
    told = oracle_of(pseudo_label_loss="nnunet", copy_paste_probability=0.5)
    train_epochs(told, 1)
    assert_trained(told)


def test_an_oracle_without_hidden_labels_says_so(oracle_of, preprocessed, monkeypatch):
    told = oracle_of()
    monkeypatch.setattr(oracle.HiddenLabels, "load", lambda *_: None)
    with pytest.raises(UserError, match="needs the hidden label"):
        told.on_train_start()
        next(told.dataloader_train)
    assert (preprocessed.raw / NAME / "labelsUl").is_dir()


def test_no_trainer_of_the_package_is_an_oracle():
    assert not any("oracle" in name.lower() for name in dir(nnunetv2_crln_trainers))
    assert not [path for path in PACKAGE.rglob("*.py") if "import oracle" in path.read_text(encoding="utf-8")]
