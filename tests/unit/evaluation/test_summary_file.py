"""Results on disk."""

import json
from pathlib import Path

import numpy as np
import pytest

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.evaluation.summary_file import load_summary
from nnunetv2_crln.utilities.json_files import write_json_with_nulls

SUMMARY = {"format_version": 1, "mean": {"a": {"Dice": {"mean": float("nan"), "n": 0}}}, "missing_predictions": ["x"]}


def test_undefined_numbers_survive_as_valid_json(tmp_path: Path) -> None:
    write_json_with_nulls(SUMMARY, tmp_path / "new folder" / "summary.json")
    text = (tmp_path / "new folder" / "summary.json").read_text(encoding="utf-8")
    assert json.loads(text)["mean"]["a"]["Dice"] == {"mean": None, "n": 0}
    loaded = load_summary(tmp_path / "new folder" / "summary.json")
    assert np.isnan(loaded["mean"]["a"]["Dice"].pop("mean"))
    assert loaded["missing_predictions"] == ["x"]


@pytest.mark.parametrize(("text", "message"), [("{", "Cannot read the evaluation"), ("{}", 'no "format_version"')])
def test_foreign_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(UserError, match=message):
        load_summary(tmp_path / "summary.json")
