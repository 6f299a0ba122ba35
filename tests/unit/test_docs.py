"""What README and docs tell users to type and to open exists."""

import re
import shlex
import subprocess
import sys
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
CODE = re.compile(r"```\w*\n(.*?)```|`([^`\n]+)`", re.DOTALL)
COMMAND = re.compile(r"^\s*(?:\$ )?((?:nnUNetv2_\w+|make)(?: [^#|;&>\n]*)?)", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s#]*)(#[^)\s]*)?\)")

by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))


def commands(page: Path) -> set[str]:
    """Command lines in code, each without its comment."""
    code = "\n".join(block or span for block, span in CODE.findall(page.read_text(encoding="utf-8")))
    return {line.strip() for line in COMMAND.findall(code.replace("\\\n", " "))}


@cache
def help_of(script: str) -> str:
    program = Path(sys.executable).parent / script
    return subprocess.run([program, "--help"], capture_output=True, text=True, encoding="utf-8", check=True).stdout


def headings(page: Path) -> set[str]:
    """The anchors GitHub makes of a page's headings."""
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in found)
    return {heading.replace(" ", "-") for heading in kept}


@by_page
def test_links_lead_somewhere(page):
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{page.name} links to {target}"
        if anchor and path.suffix == ".md":
            assert anchor[1:] in headings(path), f"{page.name} links to {target}{anchor}"


@by_page
def test_commands_exist_and_know_their_options(page):
    ours = {entry.name for entry in distribution("nnunetv2_crln").entry_points}
    scripts = ours | {entry.name for entry in distribution("nnunetv2").entry_points}
    targets = set(re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for command in commands(page):
        name, *arguments = command.split()
        if name == "make":
            assert set(arguments[:1]) <= targets, f"{page.name}: {command}"
            continue
        assert name in scripts, f"{page.name}: {command}"
        if name in ours:
            options = {argument for argument in arguments if re.fullmatch(r"--?[a-zA-Z]\w*", argument)}
            unknown = {option for option in options if not re.search(rf"(?<![\w-]){option}\b", help_of(name))}
            assert not unknown, f"{page.name}: {command}"


def test_the_readme_holds_the_whole_workflow():
    names = {shlex.split(command)[0] for command in commands(REPOSITORY / "README.md")}
    workflow = {"nnUNetv2_crln_plan_and_preprocess", "nnUNetv2_train", "nnUNetv2_predict", "nnUNetv2_crln_evaluate"}
    assert workflow <= names


def test_every_command_of_ours_is_documented():
    written = " ".join(page.read_text(encoding="utf-8") for page in PAGES)
    missing = [entry.name for entry in distribution("nnunetv2_crln").entry_points if entry.name not in written]
    assert not missing
