"""Every command that a message advises is one that its own parser understands."""

import ast
import contextlib
import functools
import importlib
import io
import re
import shlex
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from nnunetv2_crln.cli.commands import own_commands
from nnunetv2_crln.utilities import advice

PACKAGE = Path(__file__).parents[2] / "nnunetv2_crln"
PARSERS = {command.name: command.module for command in own_commands()}
COMMAND = re.compile(r"\b(nnUNetv2_\w+)((?: +(?:-{1,2}[A-Za-z]\w*|(?!nnUNetv2_)[\w./-]+))*)")


def texts_of(tree: ast.AST):
    """Yield all texts of a module, with 1 in the place of values; docstrings are not messages."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {id(n.body[0].value) for n in ast.walk(tree) if isinstance(n, documented) and ast.get_docstring(n)}
    inside = {id(part) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for part in n.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "1" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings | inside:
            yield node.value


@functools.cache
def advised() -> dict[str, set[str]]:
    """Return the flags that messages give to each command."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for text in texts_of(ast.parse(path.read_text(encoding="utf-8"))):
            for name, words in COMMAND.findall(text):
                found.setdefault(name, set()).update(word for word in words.split() if word.startswith("-"))
    return {name: flags for name, flags in found.items() if flags}


def flags_of(name: str) -> set[str]:
    """Return the flags of a command of ours, or those in the help of one of nnU-Net's."""
    if name == "nnUNetv2_crln_convert":  # its flags are those of each dataset
        return {"-h", "--help", "-i"}
    if name in PARSERS:
        return set(importlib.import_module(PARSERS[name]).build_parser()._option_string_actions)
    (entry,) = [entry for entry in entry_points(group="console_scripts") if entry.name == name]
    text = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        patch.setattr(sys, "argv", [name, "--help"])
        entry.load()()
    return set(re.findall(r"(?<![\w-])-{1,2}[A-Za-z]\w*", text.getvalue()))


def test_messages_are_found():
    assert "--verify_dataset_integrity" in advised()["nnUNetv2_crln_plan_and_preprocess"]


@pytest.mark.parametrize("name", sorted(advised()))
def test_the_commands_in_messages_know_their_flags(name):
    assert advised()[name] <= flags_of(name)


@pytest.mark.parametrize("dataset", ["Dataset004_Heart", "Dataset1042_Heart"])
def test_the_command_for_unlabelled_cases_names_the_plans(dataset):
    line = advice.preprocess_unlabelled_command(dataset, ["2d", "3d_fullres"], "my Plans")
    name, *words = shlex.split(line)
    options = importlib.import_module(PARSERS[name]).build_parser().parse_args(words)
    assert [int(str(d)) for d in options.d] == [int(dataset[7:].split("_")[0])]
    assert options.c == ["2d", "3d_fullres"]
    assert options.overwrite_plans_name == "my Plans" and options.unlabelled_only


def test_the_command_for_labelled_cases_is_nnunets():
    name, *words = shlex.split(advice.preprocess_labelled_command("Dataset1042_Heart", ["2d"], "my Plans"))
    assert name == "nnUNetv2_preprocess"
    assert words == ["-d", "1042", "-plans_name", "my Plans", "-c", "2d"]
    assert {word for word in words if word.startswith("-")} <= flags_of(name)
