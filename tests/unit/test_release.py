"""The places that name the version agree."""

import re
from pathlib import Path

import nnunetv2_crln

REPOSITORY = Path(__file__).resolve().parents[2]


def text(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def test_changelog_and_citation_name_the_released_version():
    version, date = re.findall(r"^## (\d+\.\d+\.\d+) - (\d{4}-\d\d-\d\d)$", text("CHANGELOG.md"), re.MULTILINE)[0]
    assert nnunetv2_crln.__version__ == version
    assert f"\nversion: {version}\ndate-released: {date}\n" in text("CITATION.cff")


def test_changes_after_a_release_have_a_place():
    first = re.search(r"^## (.*)$", text("CHANGELOG.md"), re.MULTILINE)
    assert first and first[1] == "Unreleased"
