"""Docstrings are complete and start with what a thing is or does.

Ruff's pydocstyle rules find missing docstrings, undescribed arguments and verbs in the wrong form. These tests add what
ruff does not: no noun clauses ("Whether ..."), no fragments ("Of the ..."), and sections that match the code.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "nnunetv2_crln").rglob("*.py"))
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
OPENERS = {"What", "Where", "Whether", "How", "Which", "When", "Who", "That", "Of", "Its", "As"}
FRAGMENT = re.compile(r"^ +(\*{0,2}\w+): (Of|Its|As above|The same\.)\b", re.MULTILINE)
CONSTRUCTOR_OF_NNUNET = ["plans", "configuration", "fold", "dataset_json", "device"]


def documented_nodes():
    """Yield path, name and node of every module, and of every class and function outside functions."""

    def inside(node, path, name):
        yield path, name, node
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (*FUNCTIONS, ast.ClassDef)) and not isinstance(node, FUNCTIONS):
                yield from inside(child, path, f"{name}.{child.name}" if name else child.name)

    for path in FILES:
        yield from inside(ast.parse(path.read_text(encoding="utf-8")), path.relative_to(ROOT), "")


NODES = [(f"{path}: {name}", node) for path, name, node in documented_nodes()]
PUBLIC = [
    (place, node)
    for place, node in NODES
    if isinstance(node, FUNCTIONS) and not any(part.startswith("_") for part in place.split(": ")[1].split("."))
]


def parameters(function):
    """List the named parameters of a function, without ``self`` and ``cls``."""
    every = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return [argument.arg for argument in every if argument.arg not in ("self", "cls")]


def raises(node):
    """Check whether the body raises an error itself, outside nested functions; a bare ``raise`` does not count."""
    return any(
        (isinstance(child, ast.Raise) and child.exc is not None)
        or (not isinstance(child, (*FUNCTIONS, ast.ClassDef, ast.Lambda)) and raises(child))
        for child in ast.iter_child_nodes(node)
    )


def lacks(function, section):
    """Check whether a section is missing in the docstring of a function."""
    return re.search(rf"^ *{section}:$", ast.get_docstring(function, clean=False) or "", re.MULTILINE) is None


def test_no_docstring_starts_with_a_noun_clause_or_a_fragment():
    found = [
        f"{place}: {docstring.splitlines()[0]}"
        for place, node in NODES
        if (docstring := ast.get_docstring(node)) and docstring.split()[0] in OPENERS
    ]
    assert not found, "start with a verb, or with the noun that the thing is:\n" + "\n".join(found)


def test_no_argument_is_described_by_a_fragment():
    found = [
        f"{place}: {match[0].strip()}"
        for place, node in NODES
        for match in FRAGMENT.finditer(ast.get_docstring(node, clean=False) or "")
    ]
    assert not found, "name what the argument is:\n" + "\n".join(found)


def test_functions_with_several_arguments_describe_arguments_and_result():
    found = [
        f"{place} lacks {section}"
        for place, node in PUBLIC
        if len(parameters(node)) >= 2
        for section in ("Args", "(Returns|Yields)")
        if lacks(node, section)
        and (section == "Args" or (node.returns is not None and ast.unparse(node.returns) != "None"))
    ]
    assert not found, "\n".join(found)


def test_classes_with_several_arguments_describe_them():
    found = [
        f"{place} lacks Args"
        for place, node in NODES
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        for method in node.body
        if isinstance(method, FUNCTIONS) and method.name == "__init__"
        if len(parameters(method)) >= 2 and parameters(method) != CONSTRUCTOR_OF_NNUNET and lacks(node, "Args")
    ]
    assert not found, "\n".join(found)


def test_functions_that_raise_say_so():
    found = [f"{place} lacks Raises" for place, node in PUBLIC if raises(node) and lacks(node, "Raises")]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("code", "missing"),
    [
        ("def f(a):\n    raise ValueError(a)", True),
        ("def f(a):\n    try:\n        g(a)\n    except ValueError:\n        raise", False),
        ("def f(a):\n    def g():\n        raise ValueError(a)\n    return g", False),
    ],
)
def test_only_errors_of_the_function_itself_count(code, missing):
    assert raises(ast.parse(code).body[0]) == missing


def test_the_package_was_read():
    """Otherwise the tests above would pass without looking at any docstring."""
    assert len(FILES) > 100 and len(PUBLIC) > 300
