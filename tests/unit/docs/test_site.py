"""The documentation as a site, and the image: what can be checked without building them."""

import re
from pathlib import Path

import hooks
import pytest
import write_commands

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = {path.name for path in DOCS.glob("*.md")}


def test_the_page_of_commands_is_what_the_parsers_say():
    written = (DOCS / "commands.md").read_text(encoding="utf-8")
    assert written == write_commands.page(), "run: python docs/site/write_commands.py"


def test_every_page_is_once_in_the_index_and_once_in_the_site():
    index = re.findall(r"\]\((\w+\.md)\)", (DOCS / "README.md").read_text(encoding="utf-8"))
    navigation = re.findall(
        r"^ +- (?:\w+: )?(\w+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(index) == sorted(PAGES - {"README.md"})
    assert sorted(navigation) == sorted(PAGES)


def test_readme_is_the_quick_start_with_links_from_inside_the_docs():
    text = hooks.quick_start()
    linked = [link.split("#")[0] for link in hooks.LINK.findall(text)]
    assert "installation.md" in linked and "../CHANGELOG.md" in linked
    assert not [link for link in linked if not (DOCS / link).exists()]
    assert (
        hooks.on_page_markdown("[a](../README.md#b) [c](../README.md)") == "[a](quick_start.md#b) [c](quick_start.md)"
    )


def test_the_workflow_installs_what_the_site_needs():
    workflow = (ROOT / ".github" / "workflows" / "checks.yml").read_text(encoding="utf-8")
    docs = re.search(r"^docs = \[(.*)\]$", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    needed = re.findall(r'"([^"]+)"', docs[1])
    assert len(needed) >= 2
    assert "uv pip install " + " ".join(f"'{requirement}'" for requirement in needed) in workflow


def test_files_outside_of_the_docs_are_named_instead_of_linked():
    text = "see [the log](../benchmarks/README.md) and [method](method.md)"
    assert (
        hooks.on_page_markdown(text) == "see the log (`benchmarks/README.md` in the repository) and [method](method.md)"
    )


def instructions() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile, with continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines if line.strip()]


def test_the_image_is_pinned_runs_as_a_user_and_keeps_data_in_a_volume():
    found = dict(instructions())
    assert re.fullmatch(r"[\w/]+:[\w.-]*\d[\w.-]*", found["FROM"]) and "latest" not in found["FROM"]
    assert found["USER"] not in ("root", "0") and found["VOLUME"] == "/data"
    assert [name for name, _ in instructions()].index("USER") > [n for n, _ in instructions()].index("RUN")
    variables = dict(re.findall(r"(nnUNet_\w+)=(\S+)", found["ENV"]))
    assert variables == {name: f"/data/{name}" for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}


@pytest.mark.parametrize(
    "rule",
    [
        "apt-get install(?!.*--no-install-recommends)",
        "apt-get install(?!.*rm -rf /var/lib/apt/lists)",
        "pip install(?!.*--no-cache-dir)",
        "sudo |curl .*\\| *(?:ba)?sh",
    ],
)
def test_the_image_keeps_the_usual_rules(rule):
    assert not [text for name, text in instructions() if name == "RUN" and re.search(rule, text)]


def test_everything_the_image_copies_exists():
    for name, text in instructions():
        if name == "COPY":
            assert all((ROOT / source).exists() for source in text.split()[:-1])
