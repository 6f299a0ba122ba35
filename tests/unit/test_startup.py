"""The start-up hook: it finds our folder, keeps the user's, never doubles, never raises and costs next to nothing."""

import os
import subprocess
import sys
import timeit
from pathlib import Path

import pytest

import nnunetv2_crln_startup as startup

PACKAGE = Path(startup.__file__).resolve().parent / "nnunetv2_crln"
OURS = str(PACKAGE / "nnunet_trainers")
PTH = PACKAGE.parent / "startup" / "nnunetv2_crln.pth"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, [OURS]),
        ("", [OURS]),
        ("/home/me/trainers", ["/home/me/trainers", OURS]),
        (f"/a{os.pathsep}/b", ["/a", "/b", OURS]),
        (OURS, [OURS]),
        (f"{OURS}{os.pathsep}/b", [OURS, "/b"]),
    ],
)
def test_our_folder_comes_once_and_after_the_users(monkeypatch, before, after):
    if before is None:
        monkeypatch.delenv(startup.VARIABLE, raising=False)
    else:
        monkeypatch.setenv(startup.VARIABLE, before)
    startup.register()
    assert os.environ[startup.VARIABLE].split(os.pathsep) == after
    startup.register()
    assert os.environ[startup.VARIABLE].split(os.pathsep) == after


def test_a_removed_package_leaves_the_variable_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(startup, "__file__", str(tmp_path / "nnunetv2_crln_startup.py"))
    monkeypatch.delenv(startup.VARIABLE, raising=False)
    startup.register()
    assert startup.VARIABLE not in os.environ


def test_never_raises(monkeypatch):
    def broken():
        raise OSError("no such drive")

    monkeypatch.setattr(startup, "trainers_folder", broken)
    startup.register()


def test_a_call_takes_microseconds(monkeypatch):
    monkeypatch.delenv(startup.VARIABLE, raising=False)

    def first_call():
        os.environ.pop(startup.VARIABLE, None)
        startup.register()

    assert min(timeit.repeat(first_call, number=100, repeat=5)) / 100 < 200e-6


def test_the_hook_imports_neither_the_package_nor_anything_heavy():
    script = f"""
import os, sys  # site.py itself has imported os by then
before = set(sys.modules)
exec({PTH.read_text(encoding="utf-8")!r})
print(*sorted(set(sys.modules) - before))
"""
    loaded = run_isolated(script, cwd=PACKAGE.parent).stdout.split()
    assert loaded == ["nnunetv2_crln_startup"]


def test_the_pth_line_is_silent_without_its_module(tmp_path):
    result = run_isolated(PTH.read_text(encoding="utf-8"), cwd=tmp_path)
    assert (result.stdout, result.stderr) == ("", "")


def test_both_hook_files_name_the_same_function():
    lines = PTH.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 and lines[0].startswith("import "), "site.py runs only lines that begin with 'import '"
    module, function = PTH.with_suffix(".start").read_text(encoding="utf-8").strip().split(":")
    assert f"{module}.{function}()" in lines[0]
    assert getattr(startup, function) is startup.register


def run_isolated(script: str, cwd: Path) -> subprocess.CompletedProcess:
    """Run a script without site-packages, seeing only ``cwd``."""
    script = f"import sys; sys.path.insert(0, {str(cwd)!r})\n{script}"
    return subprocess.run(
        [sys.executable, "-S", "-I", "-c", script], capture_output=True, text=True, encoding="utf-8", check=True
    )
