"""nnU-Net calls our overrides with its own arguments: each must accept what the installed nnU-Net's method accepts."""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path

import pytest
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

import nnunetv2_crln.training
from nnunetv2_crln.nnunet_trainers import nnunetv2_crln_trainers


def our_trainers() -> list[type]:
    """Every nnU-Net trainer defined in ``nnunetv2_crln.training``."""
    found = set()
    for module in pkgutil.iter_modules(nnunetv2_crln.training.__path__, "nnunetv2_crln.training."):
        for value in vars(importlib.import_module(module.name)).values():
            ours = inspect.isclass(value) and value.__module__.startswith("nnunetv2_crln.")
            if ours and issubclass(value, nnUNetTrainer):
                found.add(value)
    return sorted(found, key=lambda trainer: trainer.__name__)


def overrides() -> list[tuple[type, str]]:
    """Class and name of each method that replaces one of nnU-Net's, in the trainers and in the mixins they inherit."""
    lines = (trainer.__mro__ for trainer in our_trainers())
    ours = {cls for line in lines for cls in line if cls.__module__.startswith("nnunetv2_crln.")}
    return [
        (cls, name)
        for cls in sorted(ours, key=lambda cls: cls.__name__)
        for name in vars(cls)
        if inspect.isroutine(getattr(cls, name)) and inspect.isroutine(getattr(nnUNetTrainer, name, None))
    ]


def parameters(method: Callable) -> list[inspect.Parameter]:
    return list(inspect.signature(method).parameters.values())


def differences(ours: Callable, theirs: Callable) -> list[str]:
    """List what makes a call that fits ``theirs`` not fit ``ours``."""
    mine, found = parameters(ours), []
    names = [parameter.name for parameter in mine]
    any_positional = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in mine)
    any_keyword = any(parameter.kind is parameter.VAR_KEYWORD for parameter in mine)
    expected = parameters(theirs)
    for place, parameter in enumerate(expected):
        if any_positional and any_keyword:
            break
        if parameter.name not in names:
            found.append(f"lacks parameter {parameter.name!r}")
        elif names.index(parameter.name) != place:
            found.append(f"has parameter {parameter.name!r} at place {names.index(parameter.name)}, not {place}")
        elif mine[place].default != parameter.default:
            found.append(f"gives {parameter.name!r} the default {mine[place].default!r}, not {parameter.default!r}")
    known = {parameter.name for parameter in expected}
    for parameter in mine:
        variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if parameter.name not in known and not variadic and parameter.default is parameter.empty:
            found.append(f"requires parameter {parameter.name!r}, which nnU-Net does not pass")
    return found


@pytest.mark.parametrize(("cls", "name"), overrides(), ids=lambda value: getattr(value, "__name__", value))
def test_override_accepts_what_nnunet_passes(cls, name):
    assert not differences(getattr(cls, name), getattr(nnUNetTrainer, name))
    kinds = [isinstance(inspect.getattr_static(owner, name), staticmethod) for owner in (cls, nnUNetTrainer)]
    assert kinds[0] == kinds[1], f"{name} is a static method in one of {cls.__name__} and nnUNetTrainer only"


def test_there_are_overrides_to_compare():
    names = {name for _, name in overrides()}
    assert {"__init__", "initialize", "train_step", "save_checkpoint", "load_checkpoint"} <= names


def test_trainers_are_defined_outside_the_folder_that_nnunet_unloads():
    source = ast.parse(Path(nnunetv2_crln_trainers.__file__).read_text(encoding="utf-8"))
    assert not [node.name for node in ast.walk(source) if isinstance(node, ast.ClassDef)]


@pytest.mark.parametrize(
    ("ours", "fits"),
    [
        (lambda self, batch: None, True),
        (lambda self, batch, extra=1: None, True),
        (lambda *args, **kwargs: None, True),
        (lambda self: None, False),
        (lambda self, data: None, False),
        (lambda self, batch, extra: None, False),
        (lambda self, batch=None: None, False),
    ],
)
def test_the_comparison_itself(ours, fits):
    assert (not differences(ours, lambda self, batch: None)) == fits


def test_every_overridden_hook_is_in_the_documentation():
    text = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.partition("## Overridden hooks")[2].partition("## ")[0]
    assert table
    assert not [f"{cls.__name__}.{name}" for cls, name in overrides() if f"`{name}`" not in table]
