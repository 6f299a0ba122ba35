"""The oracle: the views of every other method, the truth as pseudo labels, and nothing that a user can train."""

import ast
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
BENCHMARKS = Path(oracle.__file__).parents[1]


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
    truth = with_truth["hidden"][:, 0]
    assert torch.equal(pseudo.labels, torch.where(truth < told.method.num_classes, truth, 0).long())
    # Outside of the image there is background, as in the labelled patches.
    assert torch.equal(pseudo.confidence > 0, truth < told.method.num_classes) and (truth >= 0).all()
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


def imports(source: str) -> set[str]:
    """Every part of the names that a module imports anywhere, also inside functions and by a call."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or "", *(alias.name for alias in node.names)}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            found |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
    return {part for name in found for part in str(name).split(".")}


@pytest.mark.parametrize(
    ("source", "imported"),
    [
        ("import oracle", True),
        ("import numpy, accuracy.oracle as o", True),
        ("def f():\n    from oracle import nnUNetTrainer_Oracle", True),
        ("from ..accuracy import oracle as o", True),
        ("importlib.import_module('accuracy.oracle')", True),
        ("from nnunetv2_crln import oracle_free", False),
        ("METHODS = {'oracle': 'import oracle'}", False),
    ],
)
def test_an_import_of_the_oracle_is_found_in_any_form(source, imported):
    assert ("oracle" in imports(source)) == imported


def test_only_the_benchmark_that_trains_the_oracle_imports_it():
    files = [path for folder in (PACKAGE, BENCHMARKS) for path in folder.rglob("*.py")]
    users = [path for path in files if "oracle" in imports(path.read_text(encoding="utf-8"))]
    assert users == [BENCHMARKS / "accuracy" / "trainers.py"]
