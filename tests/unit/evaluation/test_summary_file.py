"""Results on disk."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.evaluation.summary_file import load_summary, save_summary
from nnunetv2_crln.utilities.files import write_text

SUMMARY = {"format_version": 1, "mean": {"a": {"Dice": {"mean": float("nan"), "n": 0}}}, "missing_predictions": ["x"]}


def test_undefined_numbers_survive_as_valid_json(tmp_path: Path) -> None:
    save_summary(SUMMARY, tmp_path / "new folder" / "summary.json")
    text = (tmp_path / "new folder" / "summary.json").read_text(encoding="utf-8")
    assert json.loads(text)["mean"]["a"]["Dice"] == {"mean": None, "n": 0}
    loaded = load_summary(tmp_path / "new folder" / "summary.json")
    assert np.isnan(loaded["mean"]["a"]["Dice"].pop("mean"))
    assert loaded["missing_predictions"] == ["x"]


def test_files_follow_the_umask_and_leave_nothing_behind(tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        write_text(tmp_path / "table.md", "one\n")
        write_text(tmp_path / "table.md", "two\n")
    finally:
        os.umask(previous)
    assert [path.name for path in tmp_path.iterdir()] == ["table.md"]
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == "two\n"
    if os.name == "posix":
        assert (tmp_path / "table.md").stat().st_mode & 0o777 == 0o640


def test_an_interrupted_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "summary.json", "old")

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(UserError, match="No space left on device"):
        write_text(tmp_path / "summary.json", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]
    assert (tmp_path / "summary.json").read_text(encoding="utf-8") == "old"


def test_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="or choose another place"):
        write_text(tmp_path / "file" / "summary.json", "")


@pytest.mark.parametrize(("text", "message"), [("{", "Cannot read the evaluation"), ("{}", 'no "format_version"')])
def test_foreign_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(UserError, match=message):
        load_summary(tmp_path / "summary.json")
