"""The examples in docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest

import nnunetv2_crln.losses
import nnunetv2_crln.modules
import nnunetv2_crln.training

PACKAGES = [nnunetv2_crln.losses, nnunetv2_crln.modules, nnunetv2_crln.training]
MODULES = [info.name for p in PACKAGES for info in pkgutil.iter_modules(p.__path__, f"{p.__name__}.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_the_module_are_true(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_examples_are_found():
    """Otherwise the test above would pass without looking at any."""
    finder = doctest.DocTestFinder()
    rectification = importlib.import_module("nnunetv2_crln.modules.rectification")
    assert any(test.examples for test in finder.find(rectification))
