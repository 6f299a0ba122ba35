"""JSON with a byte order mark, which nnU-Net cannot read."""

import codecs

import pytest

from nnunetv2_crln.utilities.files import read_json


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
