"""Data flows one way through the package: no package imports one above it, and there is no circle of imports."""

import ast
import functools
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "nnunetv2_crln"
# From the floor up. A module may import from its own layer and from those below it.
LAYERS = (
    {"errors", "layout", "__init__"},
    {"utilities", "settings", "modules", "losses", "networks"},
    {"raw_dataset"},
    {"evaluation", "model_folders", "preprocessed_dataset"},
    {"dataset_conversion", "plan_and_preprocess", "reporting"},
    {"training"},
    {"annotation_loop"},
    {"comparison"},
    {"nnunet_trainers", "export", "doctor", "demo"},
    {"cli"},
)
HEIGHT = {package: height for height, packages in enumerate(LAYERS) for package in packages}
TORCH_ALONE = {"modules", "losses", "networks"}


@functools.cache
def modules() -> dict[str, Path]:
    return {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in sorted(PACKAGE.rglob("*.py"))}


@functools.cache
def imports(path: Path) -> set[str]:
    """Full names of what a module imports anywhere, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{path}: an import relative to its package"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


@functools.cache
def own(path: Path) -> set[str]:
    """Modules of this package that a module imports."""
    known = modules()
    names = {name.removeprefix("nnunetv2_crln.") for name in imports(path) if name.startswith("nnunetv2_crln.")}
    return {name for name in names if name in known or f"{name}.__init__" in known}


@pytest.mark.parametrize("name", modules())
def test_no_module_imports_from_a_layer_above(name):
    package = name.split(".")[0]
    assert package in HEIGHT, f"{package} has no place in LAYERS"
    above = {other for other in own(modules()[name]) if HEIGHT[other.split(".")[0]] > HEIGHT[package]}
    assert not above


def test_packages_of_one_layer_do_not_know_each_other():
    pairs = {
        (name.split(".")[0], other.split(".")[0])
        for name, path in modules().items()
        for other in own(path)
        if HEIGHT[name.split(".")[0]] == HEIGHT[other.split(".")[0]] > 0
    }
    assert not {pair for pair in pairs if pair[0] != pair[1]}


def test_there_is_no_circle():
    graph = {name: {other for other in own(path) if other in modules()} for name, path in modules().items()}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way[way.index(name) :], name))
        if name not in done:
            for other in graph[name]:
                visit(other, (*way, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("package", sorted(TORCH_ALONE))
def test_the_method_is_torch_alone(package):
    for name, path in modules().items():
        if name.split(".")[0] != package:
            continue
        foreign = {found.split(".")[0] for found in imports(path)} - sys.stdlib_module_names
        assert foreign <= {"torch", "nnunetv2_crln"}, f"{name} imports {foreign}"
        assert {other.split(".")[0] for other in own(path)} <= TORCH_ALONE | {"errors"}, name


def test_hidden_labels_are_read_by_monitoring_alone():
    readers = {name for name, path in modules().items() if "training.monitoring.hidden_labels" in own(path)}
    assert readers and all(name.startswith("training.monitoring.") for name in readers), readers


@pytest.mark.parametrize("name", [name for name in modules() if name.startswith("training.method.")])
def test_the_method_knows_neither_nnunet_nor_what_a_training_is_made_of(name):
    path = modules()[name]
    foreign = {found.split(".")[0] for found in imports(path)} - sys.stdlib_module_names
    assert foreign <= {"torch", "numpy", "nnunetv2_crln"}, f"{name} imports {foreign}"
    around = {other for other in own(path) if other.startswith("training.") and not other.startswith("training.method")}
    assert not around


def test_files_functions_and_classes_stay_small():
    """The trainer is a list of hooks; what grows beyond these sizes hides a second idea."""
    too_large = []
    for name, path in modules().items():
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) > (250 if name == "training.trainer" else 400):
            too_large.append(name)
        for node in ast.walk(ast.parse(text)):
            limit = {ast.ClassDef: 250, ast.FunctionDef: 80}.get(type(node))
            if limit and node.end_lineno - node.lineno >= limit:
                too_large.append(f"{name}.{node.name}")
    assert not too_large
