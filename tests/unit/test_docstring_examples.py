"""The examples in docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest

import nnunetv2_crln

# The folder that nnU-Net scans: re-exports without docstrings, imported under another name by nnU-Net itself.
LEFT_OUT = "nnunetv2_crln.nnunet_trainers"
MODULES = [
    info.name
    for info in pkgutil.walk_packages(nnunetv2_crln.__path__, "nnunetv2_crln.")
    if not info.name.startswith(LEFT_OUT)
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_the_module_are_true(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_examples_are_found():
    """Otherwise the test above would pass without looking at any."""
    finder = doctest.DocTestFinder()
    with_examples = [
        name for name in MODULES if any(test.examples for test in finder.find(importlib.import_module(name), name))
    ]
    assert "nnunetv2_crln.modules.rectification" in with_examples and len(with_examples) >= 7
