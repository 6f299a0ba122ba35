"""JSON files: byte order marks, which nnU-Net cannot read, and NaN, which JSON lacks."""

import codecs
import json
import math

import pytest

from nnunetv2_crln.utilities.json_files import null_to_nan, read_json, write_json, write_json_with_nulls


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [(codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")],
)
def test_the_mark_is_named(tmp_path, mark, encoding):
    path = tmp_path / "a.json"
    path.write_bytes(mark + '{"a": 1}'.encode(encoding))
    with pytest.raises(ValueError, match=r"byte order mark.*without byte order mark"):
        read_json(path)


def test_plain_files_are_read(tmp_path):
    (tmp_path / "a.json").write_text('{"name": "Müller"}', encoding="utf-8")
    assert read_json(tmp_path / "a.json") == {"name": "Müller"}


def test_json_goes_round(tmp_path):
    write_json({"a": [1, None, "ä"]}, tmp_path / "a.json")
    assert read_json(tmp_path / "a.json") == {"a": [1, None, "ä"]}
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["a"][2] == "ä"


def test_nan_goes_round_as_null(tmp_path):
    content = {"a": [1.5, float("nan")], "b": {"c": float("nan"), "d": "text"}, "e": (2, 3)}
    write_json_with_nulls(content, tmp_path / "new" / "a.json")
    stored = read_json(tmp_path / "new" / "a.json")
    assert stored == {"a": [1.5, None], "b": {"c": None, "d": "text"}, "e": [2, 3]}
    again = null_to_nan(stored)
    assert again["a"][0] == 1.5 and math.isnan(again["a"][1]) and math.isnan(again["b"]["c"])
    assert again["b"]["d"] == "text" and again["e"] == [2, 3]
