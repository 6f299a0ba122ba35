"""Commands and files that README and docs name exist."""

import contextlib
import io
import re
import shlex
from functools import cache
from importlib import import_module
from importlib.metadata import distribution
from pathlib import Path

import pytest

from nnunetv2_crln.cli.commands import own_commands
from nnunetv2_crln.cli.convert import conversions
from nnunetv2_crln.cli.main import overview

REPOSITORY = Path(__file__).resolve().parents[3]
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


OURS = {command.name: command.module for command in own_commands()}


@cache
def help_of(name: str, first_argument: str) -> str:
    """Return the help of a command; that of a conversion with the dataset's own options."""
    if name == "nnUNetv2_crln":
        return overview()
    if name == "nnUNetv2_crln_convert" and first_argument in conversions():
        with contextlib.redirect_stdout(io.StringIO()) as printed, pytest.raises(SystemExit):
            import_module(OURS[name]).main([first_argument, "-h"])
        return printed.getvalue()
    return import_module(OURS[name]).build_parser().format_help()


def headings(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
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


@pytest.mark.slow
@by_page
def test_commands_exist_and_know_their_options(page):
    ours = {"nnUNetv2_crln", *OURS}
    scripts = ours | {entry.name for entry in distribution("nnunetv2").entry_points}
    targets = set(re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for command in commands(page):
        name, *arguments = command.split()
        if name == "make":
            assert set(arguments[:1]) <= targets, f"{page.name}: {command}"
            continue
        assert name in scripts, f"{page.name}: {command}"
        if name in ours:
            text = help_of(name, next(iter(arguments), ""))
            options = {argument for argument in arguments if re.fullmatch(r"--?[a-zA-Z]\w*", argument)}
            unknown = {option for option in options if not re.search(rf"(?<![\w-]){option}\b", text)}
            assert not unknown, f"{page.name}: {command}"


def test_the_readme_holds_the_whole_workflow():
    names = {shlex.split(command)[0] for command in commands(REPOSITORY / "README.md")}
    workflow = {"nnUNetv2_crln_plan_and_preprocess", "nnUNetv2_train", "nnUNetv2_predict", "nnUNetv2_crln_evaluate"}
    assert workflow <= names


def test_every_command_of_ours_is_documented():
    written = " ".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert not [name for name in OURS if name not in written]
