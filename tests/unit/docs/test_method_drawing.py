"""The picture of the method in the documentation is the one that its script draws."""

import runpy
from pathlib import Path
from xml.etree import ElementTree

IMAGES = Path(__file__).resolve().parents[3] / "docs" / "images"


def test_the_committed_picture_is_what_the_script_draws():
    drawing = runpy.run_path(str(IMAGES / "draw_method.py"))["drawing"]()
    assert ElementTree.fromstring(drawing).tag == "{http://www.w3.org/2000/svg}svg"
    assert drawing == (IMAGES / "method.svg").read_text(encoding="utf-8"), "run: python docs/images/draw_method.py"
