"""Names that look alike."""

import unicodedata

import pytest

from nnunetv2_crln.utilities.names import explain_near_name, portable_key, with_hint

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Müller") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("name", "present", "text"),
    [
        (COMPOSED, [DECOMPOSED], "another Unicode form"),
        (DECOMPOSED, ["x", COMPOSED], "another Unicode form"),
        ("case", ["Case"], "upper and lower case"),
        (COMPOSED, [DECOMPOSED.upper()], "upper and lower case"),
        ("case", ["case", "cases"], ""),
        ("case", [], ""),
    ],
)
def test_hints(name, present, text):
    hint = explain_near_name(name, present)
    assert text in hint and bool(hint) == bool(text)
    assert with_hint(name, present).startswith(name)


def test_names_share_a_key_if_some_file_system_takes_them_for_one():
    assert portable_key(COMPOSED) == portable_key(DECOMPOSED.upper()) != portable_key("Muller")
